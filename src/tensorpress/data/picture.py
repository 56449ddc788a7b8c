"""One image file, read by Pillow."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tensorpress.errors import TensorpressError, first_line

# Videos, plots of other programs, and what Pillow only names or hands to another programme.
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
_GREY = ("1", "L", "LA")
_SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_ORIENTATION, _LIES_ON_A_SIDE = 0x0112, (5, 6, 7, 8)

Pixels = npt.NDArray[np.uint8]


class Unreadable(Exception):
    """A file that is no image, a broken one, or one of which nobody can say what is white."""


@dataclass(frozen=True)
class Look:
    """What the head of a file says: upright width and height, and whether it is grey."""

    width: int
    height: int
    grey: bool


@cache
def suffixes() -> frozenset[str]:
    """What the names of images end in, as far as Pillow reads them.

    Raises:
        TensorpressError: Pillow is not installed.
    """
    image = _pillow()
    known = image.registered_extensions()
    kinds = {*image.OPEN, "MPO"} - _NO_PICTURES  # which is opened as the JPEG that it begins with
    return frozenset(suffix for suffix, kind in known.items() if kind in kinds)


def look(file: Path) -> Look:
    """What the head of ``file`` says.

    Raises:
        Unreadable: it is no image.
    """
    with _opened(file) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in _LIES_ON_A_SIDE:
            width, height = height, width
        return Look(width, height, image.mode in _GREY or image.mode in _SIXTEEN_BITS)


def read(file: Path, channels: int, frame: Callable[[Any], Any]) -> tuple[Pixels, bool]:
    """The first picture in ``file``, upright, as (C, H, W), and whether it had 16 bits a channel.

    Palettes, CMYK and the like become RGB, or grey where ``channels`` is 1; what lies under
    transparency is taken as it is; of 16 bits the upper 8 are taken.

    Args:
        channels: 1 or 3.
        frame: gives the part of the Pillow image that is wanted.

    Raises:
        Unreadable: it is no image, or a broken one.
    """
    with _opened(file) as image:
        from PIL import ImageOps

        upright = ImageOps.exif_transpose(image)
        deep = upright.mode in _SIXTEEN_BITS
        plain = _eight_bits(upright) if deep else upright
        if plain.mode == "P" and "transparency" in plain.info:
            plain = plain.convert("RGBA")
        pixels = np.asarray(frame(plain.convert("L" if channels == 1 else "RGB")))
    return pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1), deep


def _eight_bits(image: Any) -> Any:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > 0xFFFF):
        raise Unreadable("it holds whole numbers that are not of 16 bits")
    return _pillow().fromarray((values >> 8).astype(np.uint8))


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    image = _pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with image.open(file) as opened:
                if opened.mode == "F":
                    raise Unreadable("it holds fractions, of which none is known to be white")
                yield opened
    except (Unreadable, MemoryError):
        raise
    # Pillow answers broken files with errors of many kinds.
    except Exception as error:
        raise Unreadable(first_line(error).removesuffix(" " + repr(str(file)))) from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise TensorpressError(
            "a folder of images needs Pillow: pip install 'tensorpress[train]'"
        ) from error
    Image.init()
    return Image
