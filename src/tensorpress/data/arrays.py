"""Inputs of a network in files of NumPy."""

import math
import os
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tensorpress.errors import TensorpressError, first_line
from tensorpress.files import as_path

SUFFIXES = (".npy", ".npz")
_BEGIN = (b"\x93NUMPY", b"PK")
"""What an array begins with, and several in a zip file; NumPy takes all else for a pickle."""
MOST_BYTES = 4 * 2**30
"""Of the arrays in an .npz, which are read whole, and may take a thousand times the file."""

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
"""By version; the third is of records with names, which are no numbers."""


def holds_arrays(source: object) -> bool:
    """Whether data are named by a file of NumPy."""
    return isinstance(source, (str, os.PathLike)) and os.fspath(source).endswith(SUFFIXES)


def load_arrays(source: str | os.PathLike[str], *, most: int) -> Tensor | dict[str, Tensor]:
    """The first ``most`` rows of what a network takes: of an .npz by the names of the inputs.

    Raises:
        TensorpressError: a file that cannot be read, that holds objects, or arrays without rows.
    """
    place = as_path(Path(source).expanduser())
    try:
        with open(place, "rb") as file:
            if not file.peek().startswith(_BEGIN):
                raise TensorpressError(f"{place} is no file of NumPy (.npy or .npz).")
        # Mapped, so that of a large file no more is read than the rows that are asked for.
        found = np.load(place, mmap_mode="r", allow_pickle=False)
        if isinstance(found, np.ndarray):
            return _tensor(place, "", found, most)
        with found:
            if not found.files:
                raise TensorpressError(f"{place} holds no arrays.")
            _refuse_large(place, found.zip)
            return {name: _tensor(place, name, found[name], most) for name in found.files}
    except TensorpressError:
        raise
    except FileNotFoundError:
        raise TensorpressError(f"there is no file {place}.") from None
    except Exception as error:  # of a zip file, of a header, or of the disk
        raise TensorpressError(
            f"{place} cannot be read as an array of NumPy ({first_line(error)})."
        ) from error


def _refuse_large(place: Path, archive: zipfile.ZipFile) -> None:
    """
    Raises:
        TensorpressError: arrays that take more than is read whole, as their headers say.
    """
    size = 0
    for record in archive.infolist():
        with archive.open(record) as file:
            version = np.lib.format.read_magic(file)
            shape, _, dtype = _HEADERS[version](file)
        size += math.prod(shape) * dtype.itemsize
    if size > MOST_BYTES:
        raise TensorpressError(
            f"{place} holds arrays of {size / 2**30:,.1f} GiB, and of an .npz at most "
            f"{MOST_BYTES // 2**30} GiB are read: keep fewer rows in it."
        )


def _tensor(place: Path, name: str, array: np.ndarray, most: int) -> Tensor:
    """The first rows of an array, copied."""
    if not array.ndim:
        raise TensorpressError(f"{place} holds a number{name and ' as ' + name}, and no rows.")
    try:
        own = array.dtype.newbyteorder("=")
        return torch.from_numpy(np.array(array[:most], own, order="C"))
    except TypeError as error:
        raise TensorpressError(
            f"{place} holds an array of {array.dtype}{name and ' as ' + name}: give numbers."
        ) from error
