"""Pages of text drawn by Pillow: what ``ocr.py`` calibrates on and tests with."""

import random
import string
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSerif"),
    *("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol"),
    *("STIXGeneralItalic", "cmss10", "cmtt10"),
)
"""That matplotlib brings along."""
SYLLABLES = """
    al an ar at be ca ce co da de di do el en er es fi ga ge gi go ha he hi ho in is it ka ke la
    le li lo ma me mi mo na ne ni no ol on or pa pe po ra re ri ro sa se si so ta te ti to tra
    un ur us va ve vi vo wa we wi zo
""".split()  # noqa: SIM905 - to be read
SIZE = (768, 736)
"""Width and height of a page; the detector enlarges what has a side below 736."""
LINES = 8


@dataclass(frozen=True)
class Page:
    """A page, (height, width, 3) in blue, green, red, and what was written on it."""

    pixels: npt.NDArray[np.uint8]
    lines: tuple[str, ...]


def drawn_page(seed: int) -> Page:
    """Eight lines in a font, a size and a colour each, rotated together, with noise."""
    draw = random.Random(seed)
    noise = np.random.default_rng(seed)
    width, height = SIZE
    paper = draw.randint(190, 255)
    image = Image.new("RGB", SIZE, tuple(max(paper - draw.randint(0, 25), 0) for _ in range(3)))
    canvas = ImageDraw.Draw(image)
    step = (height - 120) // LINES
    lines = []
    for number in range(LINES):
        text = _text(draw)
        font = ImageFont.truetype(_file_of(draw.choice(FONTS)), draw.randint(18, 34))
        while canvas.textlength(text, font) > width - 160:
            text = text[:-1].strip()
        ink = tuple(draw.randint(0, 110) for _ in range(3))
        canvas.text((80 + draw.randint(0, 20), 60 + number * step), text, ink, font)
        lines.append(text)
    turned = image.rotate(
        draw.uniform(-4, 4), Image.Resampling.BICUBIC, fillcolor=image.getpixel((0, 0))
    )
    pixels = np.asarray(turned, np.float32) + noise.normal(
        0, draw.uniform(0, 14), (height, width, 3)
    )
    return Page(pixels.clip(0, 255).astype(np.uint8)[:, :, ::-1].copy(), tuple(lines))


def _text(draw: random.Random) -> str:
    kind = draw.random()
    if kind < 0.2:
        digits = "".join(draw.choices(string.digits, k=draw.randint(4, 9)))
        return f"{_word(draw).upper()} {digits[:-2]}.{digits[-2:]}"
    words = [_word(draw) for _ in range(draw.randint(2, 5))]
    if kind < 0.6:
        words[0] = words[0].capitalize()
    if kind > 0.9:
        words = [word.upper() for word in words]
    return " ".join(words)


def _word(draw: random.Random) -> str:
    return "".join(draw.choices(SYLLABLES, k=draw.randint(1, 4)))


def _file_of(font: str) -> str:
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{font}.ttf")
