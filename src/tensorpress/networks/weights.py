"""Weight files as people have them, read without running anything that is in them."""

import os
import pickle
import pickletools
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tensorpress.errors import TensorpressError

Network = TypeVar("Network", bound=nn.Module)

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net")
_PREFIXES = ("module.", "model.", "net.")
_IN_ANY_WEIGHT_FILE = ("torch.", "collections.OrderedDict")
_ALSO_CALLED = {"fc": "linear", "downsample": "shortcut"}
"""Names in the weight files of others for parts of our networks."""
_SHOWN = 3
FOLDER = 0x10
"""Mark of a folder among the attributes of a record in a zip file, after MS-DOS."""


def load_weights(net: Network, file: str | os.PathLike[str]) -> Network:
    """Load the weights in `file` into `net`, in place, and return `net`.

    Reads what `torch.save` writes (new and old format) and safetensors, told apart by content.
    The weights may stand under `state_dict`, `model_state_dict`, `model` or `net`, and all their
    names may start with `module.`, `model.` or `net.` or hold `_orig_mod.`, as data parallel,
    Lightning and compiled networks leave them; what ours call `linear` and `shortcut` may be called
    `fc` and `downsample`. They are converted to the dtype and device of
    `net`. Every weight must be there with its shape; only `num_batches_tracked` may be absent.

    Files are read with `weights_only=True`: code in a pickle never runs.

    Raises:
        TensorpressError: no such file, a truncated or foreign one, one that would run code, or
            weights of another network. `net` is then as it was.
    """
    path = Path(file)
    weights = _state_dict(path, _read(path))
    own = _plain_names(net.state_dict())
    weights = {_name_in(own, name): weight for name, weight in weights.items()}
    weights |= {
        name: value
        for name, (_, value) in own.items()
        if name not in weights and name.endswith("num_batches_tracked")
    }
    _check_fit(path, net, {name: value for name, (_, value) in own.items()}, weights)
    net.load_state_dict({own_name: weights[name] for name, (own_name, _) in own.items()})
    return net


def _read(path: Path) -> object:
    try:
        if path.is_dir():
            raise TensorpressError(f"{path} is a folder, not a weight file")
        if not path.exists():
            raise TensorpressError(f"there is no weight file {path}")
        with path.open("rb") as opened:
            head = opened.read(9)
    except OSError as error:
        raise TensorpressError(f"the weight file {path} cannot be read: {error}") from error
    if not head:
        raise TensorpressError(f"the weight file {path} is empty")
    # safetensors: the length of the header in 8 bytes, then the header, a JSON object.
    if head[8:] == b"{":
        return _read_safetensors(path)
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
        with path.open("rb") as opened, warnings.catch_warnings(action="ignore"):
            return torch.load(opened, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        called = _refused_call(str(error)) or _call_in_pickle(path)
        if called is None:
            raise _unreadable(path, error) from error
        raise TensorpressError(
            f"{path} was refused, because reading it would run code ({called}): have it saved "
            "as plain weights, torch.save(net.state_dict(), file)"
        ) from error
    # torch.load answers foreign bytes with errors of many kinds.
    except Exception as error:
        raise _unreadable(path, error) from error


def _refuse_altered(path: Path) -> None:
    """The new format is a zip file, whose checksums torch.load does not look at."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            # Of a record marked as a folder torch.load reads nothing, and gives stray memory.
            folders = (i.filename for i in archive.infolist() if i.external_attr & FOLDER)
            altered = archive.testzip() or next(folders, None)
    # What is wrong with a zip file shows as errors of many kinds.
    except Exception as error:
        raise _unreadable(path, error) from error
    if altered is not None:
        raise TensorpressError(
            f"{path} is truncated or not a weight file (torch or safetensors): '{altered}' in it "
            "does not fit its checksum or kind"
        )


def _unreadable(path: Path, error: Exception) -> TensorpressError:
    # torch puts advice before what went wrong.
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    reason = re.split(r"(?<=\w)[.:;] |\n", text)[0][:100] or type(error).__name__
    return TensorpressError(
        f"{path} is truncated or not a weight file (torch or safetensors): {reason}"
    )


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


def _state_dict(path: Path, content: object) -> dict[str, Any]:
    opened: set[int] = set()  # a pickle may hold a dict that holds itself
    while isinstance(content, Mapping) and id(content) not in opened:
        opened.add(id(content))
        nested = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if not nested:
            break
        content = nested[0]
    if not isinstance(content, Mapping):
        raise TensorpressError(
            f"{path} holds an object of type {type(content).__name__}, not weights by name"
        )
    if not any(isinstance(value, Tensor) for value in content.values()):
        found = ", ".join(str(key) for key in list(content)[:_SHOWN]) or "nothing"
        raise TensorpressError(f"{path} holds no weights by name; found in it: {found}")
    named = {str(key): value for key, value in content.items()}
    return {name: value for name, (_, value) in _plain_names(named).items()}


def _plain_names(weights: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """{name without the wrappers' prefixes: (name, weight)}."""
    plain = {name: name.replace("_orig_mod.", "") for name in weights}
    while prefix := next((p for p in _PREFIXES if _all_start(plain, p)), None):
        plain = {name: short.removeprefix(prefix) for name, short in plain.items()}
    return {short: (name, weights[name]) for name, short in plain.items()}


def _name_in(own: Mapping[str, Any], name: str) -> str:
    ours = ".".join(_ALSO_CALLED.get(part, part) for part in name.split("."))
    return ours if name not in own and ours in own else name


def _all_start(plain: Mapping[str, str], prefix: str) -> bool:
    return bool(plain) and all(short.startswith(prefix) for short in plain.values())


def _check_fit(
    path: Path, net: nn.Module, own: Mapping[str, Any], weights: Mapping[str, Any]
) -> None:
    reshaped = [
        f"{name} {_shape(weights[name])}, here {_shape(value)}"
        for name, value in own.items()
        if name in weights and not is_lazy(value) and _shape(weights[name]) != _shape(value)
    ]
    complaints = [
        _complaint("missing", [name for name in own if name not in weights]),
        _complaint("unexpected", [name for name in weights if name not in own]),
        _complaint("of another shape", reshaped),
    ]
    if any(complaints):
        raise TensorpressError(
            f"{path} holds the weights of another network than {type(net).__name__}: "
            + "; ".join(complaint for complaint in complaints if complaint)
        )


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _complaint(kind: str, names: list[str]) -> str:
    if not names:
        return ""
    more = ", ..." if len(names) > _SHOWN else ""
    return f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{more})"
