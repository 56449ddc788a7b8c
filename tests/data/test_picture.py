from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tensorpress.data.picture import Unreadable, look, read, suffixes

RAMP = np.arange(0, 240, 2, dtype=np.uint8).reshape(10, 12)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=-1)


def whole(image: Any) -> Any:
    return image


def saved(folder: Path, mode: str) -> Path:
    """An image that looks like ``COLOURS``, or like ``RAMP`` where it is grey."""
    file = folder / ("image.tif" if mode in ("CMYK", "I;16B") else "image.png")
    if mode in ("L", "LA"):
        Image.fromarray(RAMP).convert(mode).save(file)
    elif mode == "1":
        Image.fromarray(RAMP).point(lambda value: 255 * (value > 99)).convert("1").save(file)
    elif mode.startswith("I"):
        Image.fromarray(RAMP.astype(np.uint16) * 256 + 17).save(file)
    elif mode == "P":
        grey = Image.fromarray(RAMP)
        grey = grey.convert("P")
        grey.putpalette([value for level in range(256) for value in (level, 255 - level, 7)])
        grey.save(file, transparency=bytes(range(256)))
    else:
        Image.fromarray(COLOURS).convert(mode).save(file)
    return file


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "CMYK", "I;16"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_becomes_grey_or_rgb_of_eight_bits(
    mode: str, channels: int, tmp_path: Path
) -> None:
    file = saved(tmp_path, mode)
    grey = mode in ("L", "LA", "1", "I;16")
    assert look(file).grey is grey
    pixels, deep = read(file, channels, whole)
    assert deep is (mode == "I;16")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (channels, 10, 12))
    expected = {
        "1": np.where(RAMP[..., None] > 99, 255, 0),
        "P": np.stack([RAMP, 255 - RAMP, np.full_like(RAMP, 7)], axis=-1),
    }.get(mode, RAMP[..., None] if grey else COLOURS)
    if channels == 1 and not grey:
        weighed = expected @ np.array([0.299, 0.587, 0.114])
        assert np.abs(pixels[0] - weighed).max() <= 1
        return
    assert (pixels.transpose(1, 2, 0) == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(COLOURS)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    if orientation in undo:
        stored = stored.transpose(undo[orientation])
    file = tmp_path / "image.png"
    stored.save(file, exif=exif)
    seen = look(file)
    assert (seen.width, seen.height) == (12, 10)
    assert np.array_equal(read(file, 3, whole)[0], COLOURS.transpose(2, 0, 1))


def test_of_several_pictures_the_first_is_taken(tmp_path: Path) -> None:
    first, second = Image.fromarray(RAMP), Image.fromarray(255 - RAMP)
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second])
    assert np.array_equal(read(tmp_path / "a.tif", 1, whole)[0][0], RAMP)


def test_what_ends_like_a_picture() -> None:
    known = {".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".bmp", ".gif", ".ppm", ".mpo"}
    assert known < suffixes()
    assert not suffixes() & {".txt", ".h5", ".mpg", ".eps", ".pdf", ".json", ""}


def fractions(file: Path) -> None:
    Image.fromarray(np.linspace(0, 1, 120, dtype=np.float32).reshape(10, 12)).save(file)


def large_numbers(file: Path) -> None:
    Image.fromarray(np.full((10, 12), 70000, np.int32)).save(file)


def text(file: Path) -> None:
    file.write_text("no image")


def cut(file: Path) -> None:
    Image.fromarray(COLOURS).save(file)
    file.write_bytes(file.read_bytes()[:200])


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (fractions, "fractions"),
        (large_numbers, "not of 16 bits"),
        (text, "^cannot identify image file$"),
        (cut, "."),
        (lambda _: None, "No such file"),
    ],
)
def test_what_nobody_can_read(write: Any, reason: str, tmp_path: Path) -> None:
    file = tmp_path / "image.tif"
    write(file)
    with pytest.raises(Unreadable, match=reason) as caught:
        read(file, 3, whole)
    assert "\n" not in str(caught.value)
