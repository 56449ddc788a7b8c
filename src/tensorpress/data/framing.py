"""How images of any size are brought to the one that a network takes."""

import math
import random
from dataclasses import dataclass
from typing import Any

from tensorpress.errors import TensorpressError, shown

INTERPOLATIONS = ("bilinear", "bicubic")
MARGIN = 256 / 224
"""Of the shorter side over the crop, where only the crop is known: as ImageNet is evaluated."""

LEAST_AREA, LEAST_ASPECT, MOST_ASPECT = 0.08, 3 / 4, 4 / 3
TRIES = 10

Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""


@dataclass(frozen=True)
class Framing:
    """Resize the shorter side, then cut out the centre: torchvision's transform for evaluation.

    Attributes:
        resize: pixels of the shorter side.
        crop: (H, W) of what is cut out.
        interpolation: "bilinear" or "bicubic", both antialiased.

    Raises:
        TensorpressError: a size below 1, a crop that is larger than ``resize``, or another
            interpolation.
    """

    resize: int
    crop: tuple[int, int]
    interpolation: str = INTERPOLATIONS[0]

    def __post_init__(self) -> None:
        if min(self.resize, *self.crop) < 1:
            raise TensorpressError(
                f"resize is {self.resize} and crop {_shown(self.crop)}: give at least 1 pixel."
            )
        if max(self.crop) > self.resize:
            raise TensorpressError(
                f"crop={_shown(self.crop)} (--crop) is larger than resize={self.resize} "
                "(--resize), the shorter side that it is cut from: the rest would be black."
            )
        check_interpolation(self.interpolation)

    def __str__(self) -> str:
        return f"resize {self.resize}, crop {_shown(self.crop)}, {self.interpolation}"

    @classmethod
    def to(
        cls, size: tuple[int, int], interpolation: str | None = None, resize: int | None = None
    ) -> "Framing":
        """To (H, W); by default the longer of these is 224 where the shorter side becomes 256."""
        resize = max(1, round(max(size) * MARGIN)) if resize is None else resize
        return cls(resize, size, interpolation or INTERPOLATIONS[0])

    def to_dict(self) -> dict[str, int | str]:
        """What of it a file remembers beside the network's input shape, which is the crop."""
        return {"resize": self.resize, "interpolation": self.interpolation}

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of an image of this size once it is resized."""
        short, long = sorted((width, height))
        longer = int(self.resize * long / short)
        return (self.resize, longer) if width <= height else (longer, self.resize)

    def centre(self, width: int, height: int) -> Box:
        """What is cut out of an image of this size."""
        tall, wide = self.crop
        top, left = round((height - tall) / 2.0), round((width - wide) / 2.0)
        return left, top, left + wide, top + tall

    def apply(self, image: Any) -> Any:
        """The part of a Pillow image that a network is evaluated on."""
        resized = image.resize(self.resized(*image.size), _filter(self.interpolation))
        return resized.crop(self.centre(*resized.size))


def random_part(image: Any, size: tuple[int, int], interpolation: str, seed: str) -> Any:
    """A random part of a Pillow image, resized to (H, W), and mirrored every second time.

    The usual augmentation for ImageNet (Szegedy et al., *Going deeper with convolutions*, 2015):
    from 8 to 100 % of the area, sides of 3:4 to 4:3. The same ``seed`` gives the same part.
    """
    drawn = random.Random(seed)
    mirrored = drawn.random() < 0.5
    part = image.crop(_part(image.size, drawn)).resize(size[::-1], _filter(interpolation))
    if mirrored:
        from PIL import Image

        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return part


def _part(size: tuple[int, int], drawn: random.Random) -> Box:
    width, height = size
    for _ in range(TRIES):
        area = width * height * drawn.uniform(LEAST_AREA, 1.0)
        aspect = math.exp(drawn.uniform(math.log(LEAST_ASPECT), math.log(MOST_ASPECT)))
        wide, tall = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < wide <= width and 0 < tall <= height:
            left, top = drawn.randint(0, width - wide), drawn.randint(0, height - tall)
            return left, top, left + wide, top + tall
    # Of a very long image no such part was found: the middle of it, as near to that as can be.
    wide = min(width, round(height * MOST_ASPECT))
    tall = min(height, round(width / LEAST_ASPECT))
    left, top = (width - wide) // 2, (height - tall) // 2
    return left, top, left + wide, top + tall


def check_interpolation(name: str | None) -> None:
    """Refuse what is not one.

    Raises:
        TensorpressError: another name.
    """
    if name is not None and name not in INTERPOLATIONS:
        raise TensorpressError(
            f"interpolation={shown(name)} (--interpolation): give {' or '.join(INTERPOLATIONS)}."
        )


def _filter(interpolation: str) -> Any:
    from PIL import Image

    return Image.Resampling[interpolation.upper()]


def _shown(size: tuple[int, int]) -> str:
    return str(size[0]) if size[0] == size[1] else f"{size[0]}x{size[1]}"
