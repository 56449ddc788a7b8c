"""A weight file in, what it holds out: tensors and plain values, never anything that runs code."""

import argparse
import datetime
import pathlib
import pickle
import pickletools
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from tensorpress.errors import TensorpressError, shown
from tensorpress.files import altered_record

_IN_ANY_WEIGHT_FILE = (
    *("torch.", "collections.OrderedDict", "argparse.Namespace", "datetime.", "pathlib."),
    *("numpy.", "_codecs.encode"),
)
_INSTEAD = {
    b"version https://git-lfs": "a pointer of Git LFS in place of the file: run git lfs pull",
    b"<!doctype": "a web page and no weight file: download the file itself",
    b"<html": "a web page and no weight file: download the file itself",
}
"""What people have in the place of a file, by what it begins with."""
_HEAD = 64
_PICKLED = (b"\x80", b"PK")
"""What the old format begins with, a pickle, and the new one, a zip file."""

_KINDS = (("", ""), ("", "Pure"), ("._local", ""), ("._local", "Pure"))
_CORES = ("core", "_core")
_NUMERIC = "?bBhHiIlLqQefdFD"


class StoredDtype:
    """What a file says of a numpy dtype; numpy itself is not called while a file is read."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def numeric(self) -> np.dtype[Any] | None:
        """The dtype, of numbers alone."""
        try:
            found = np.dtype(f"{self.order if self.order in ('<', '>') else '='}{self.code}")
        except (TypeError, ValueError):
            return None
        return found if found.char in _NUMERIC else None


class StoredArray:
    """What a file says of a numpy array or scalar."""

    shape: tuple[int, ...] = ()
    dtype: StoredDtype | None = None
    by_columns = False
    data: object = b""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.dtype, self.by_columns, self.data = state

    def tensor(self) -> Tensor | None:
        """A copy as a tensor; None where it holds no numbers, or not as many as it says."""
        kind = self.dtype.numeric() if isinstance(self.dtype, StoredDtype) else None
        if kind is None or not isinstance(self.data, bytes):
            return None
        try:
            values = np.frombuffer(self.data, kind).astype(np.dtype(kind.char))
            shaped = values.reshape(self.shape, order="F" if self.by_columns else "C")
            return torch.from_numpy(np.ascontiguousarray(shaped).reshape(self.shape))
        except (TypeError, ValueError):
            return None


def _array(*_: object) -> StoredArray:
    return StoredArray()


def _scalar(dtype: object, data: object = b"") -> StoredArray:
    found = StoredArray()
    found.dtype, found.data = dtype if isinstance(dtype, StoredDtype) else None, data
    return found


PLAIN: list[Any] = [
    argparse.Namespace,
    *(datetime.datetime, datetime.date, datetime.time, datetime.timedelta, datetime.timezone),
    *((pathlib.PurePosixPath, f"pathlib{part}.{kind}PosixPath") for part, kind in _KINDS),
    *((pathlib.PureWindowsPath, f"pathlib{part}.{kind}WindowsPath") for part, kind in _KINDS),
    (StoredArray, "numpy.ndarray"),
    (StoredDtype, "numpy.dtype"),
    *((_array, f"numpy.{core}.multiarray._reconstruct") for core in _CORES),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in _CORES),
]
"""What stands beside weights in the files of others and runs nothing: settings, dates, numbers.

Arrays are read as :class:`StoredArray`: numpy's own constructors take any place in memory.
"""


def read_weight_file(path: Path) -> object:
    """What a file of torch.save, of either format, or of safetensors holds; told by content.

    Files are read with `weights_only=True`, and besides tensors :data:`PLAIN` is let in.

    Raises:
        TensorpressError: no such file, a truncated or foreign one, or one that would run code.
    """
    try:
        if path.is_dir():
            raise TensorpressError(f"{path} is a folder, not a weight file")
        if not path.exists():
            raise TensorpressError(f"there is no weight file {path}")
        head = _head_of(path)
    except OSError as error:
        raise TensorpressError(f"the weight file {path} cannot be read: {error}") from error
    if not head:
        raise TensorpressError(f"the weight file {path} is empty")
    # safetensors: the length of the header in 8 bytes, then the header, a JSON object.
    if head[8:9] == b"{":
        return _read_safetensors(path)
    for begins, what in _INSTEAD.items():
        if head.lstrip().lower().startswith(begins):
            raise TensorpressError(f"{path} is {what}")
    return _read_torch(path)


def _read_safetensors(path: Path) -> object:
    try:
        return safetensors.torch.load_file(path, device="cpu")
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _read_torch(path: Path) -> object:
    _refuse_altered(path)
    try:
        # Opened here, because torch.load goes by the suffix of a path. Its warnings on odd pickles
        # would stand beside the one message that says what is wrong.
        with (
            path.open("rb") as opened,
            warnings.catch_warnings(action="ignore"),
            torch.serialization.safe_globals(_not_yet_safe()),
        ):
            return torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        called = _refused_call(str(error)) or _call_in_pickle(path)
        if called is None or not _head_of(path).startswith(_PICKLED):
            raise _unreadable(path, error) from error
        raise TensorpressError(
            f"{path} was refused, because reading it would run code ({called}): have it saved "
            "as plain weights, torch.save(net.state_dict(), file)"
        ) from error
    # torch.load answers foreign bytes with errors of many kinds.
    except Exception as error:
        raise _unreadable(path, error) from error


def _not_yet_safe() -> list[Any]:
    """:data:`PLAIN` less what the user's own code has let in, which stays so afterwards."""
    known = torch.serialization.get_safe_globals()
    return [entry for entry in PLAIN if entry not in known]


def _refuse_altered(path: Path) -> None:
    """The new format is a zip file, and torch.load looks at no checksums."""
    try:
        if not zipfile.is_zipfile(path):
            return
        scripted = _is_scripted(path)
        altered = None if scripted else altered_record(path)
    # What is wrong with a zip file shows as errors of many kinds.
    except Exception as error:
        raise _unreadable(path, error) from error
    if scripted:
        raise TensorpressError(
            f"{path} is a network of TorchScript, which holds code: have it saved as plain "
            "weights, torch.save(net.state_dict(), file)"
        )
    if altered is not None:
        raise TensorpressError(
            f"{path} is truncated or not a weight file (torch or safetensors): {altered}"
        )


def _is_scripted(path: Path) -> bool:
    """By what torch.load goes, too."""
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2] == "constants.pkl" for name in archive.namelist())


def _unreadable(path: Path, error: Exception) -> TensorpressError:
    # torch puts advice before what went wrong.
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    reason = re.split(r"(?<=\w)[.:;] |\n", text)[0][:100] or type(error).__name__
    head = _head_of(path)
    if not head.startswith(_PICKLED) and head[8:9] != b"{":
        reason = f"it begins with {shown(head, 24)}"
    return TensorpressError(
        f"{path} is truncated or not a weight file (torch or safetensors): {reason}"
    )


def _head_of(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(_HEAD)


def _refused_call(message: str) -> str | None:
    """The name of the function or class that torch refused, if that is what the message says."""
    found = re.search(r"GLOBAL ([\w.]+)", message) or re.search(
        r"(?:but got|function) (?:<[\w ]+ '?)?([\w.]+)", message
    )
    return found.group(1) if found else None


def _call_in_pickle(path: Path) -> str | None:
    """The first foreign function or class that a pickle names; it is parsed, not run."""
    strings: list[str] = []
    try:
        for opcode, argument, _ in pickletools.genops(_pickle_bytes(path)):
            if opcode.name in ("GLOBAL", "INST"):
                called = str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                called = ".".join(strings[-2:])
            else:
                if isinstance(argument, str):
                    strings.append(argument)
                continue
            if not called.startswith(_IN_ANY_WEIGHT_FILE):
                return called
    except (ValueError, OSError, zipfile.BadZipFile):
        return None
    return None


def _pickle_bytes(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.endswith("data.pkl")]
        return archive.read(names[0]) if names else b""
