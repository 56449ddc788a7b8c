from typing import Any

import pytest

from tensorpress.data.framing import Framing
from tensorpress.data.wanted import Wanted
from tensorpress.errors import TensorpressError

USUAL = Framing(20, (18, 12), "bicubic")


@pytest.mark.parametrize(
    ("asked", "framing"),
    [
        ({}, None),
        ({"shape": (3, 224, 224)}, None),
        ({"usual": USUAL}, None),
        ({"crop": 224}, Framing(256, (224, 224))),
        ({"crop": 299, "interpolation": "bicubic"}, Framing(342, (299, 299), "bicubic")),
        ({"resize": 232, "shape": (3, 224, 192)}, Framing(232, (224, 192))),
        ({"resize": 232, "crop": 200, "shape": (3, 224, 192)}, Framing(232, (200, 200))),
        ({"resize": 19, "usual": USUAL}, Framing(19, (18, 12), "bicubic")),
        ({"resize": 19, "fallback": USUAL, "shape": (3, 9, 9)}, Framing(19, (9, 9), "bicubic")),
    ],
)
def test_what_is_left_out_follows_from_the_rest(
    asked: dict[str, Any], framing: Framing | None
) -> None:
    assert Wanted.of(**asked).framing == framing


def test_another_interpolation_in_what_is_usual() -> None:
    wanted = Wanted.of(usual=USUAL, interpolation="bilinear")
    assert wanted.usual == Framing(20, (18, 12), "bilinear")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"resize": 256}, "say with crop="),
        ({"resize": 200, "crop": 224}, "crop=224 .* is larger than resize=200"),
        ({"resize": 0, "crop": 0}, "at least 1 pixel"),
        ({"resize": -5, "crop": 3}, "at least 1 pixel"),
        ({"crop": -1}, "at least 1 pixel"),
        ({"interpolation": "lanczos", "crop": 8}, "'lanczos' .*give bilinear or bicubic"),
        ({"interpolation": "bicubic"}, "is of images that are resized"),
        ({"workers": -1}, "workers=-1"),
        ({"workers": 10**6}, r"workers=1000000 \(--workers\): give 0 to 256"),
    ],
)
def test_sizes_that_cannot_be(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(TensorpressError, match=message):
        Wanted.of(**asked)
