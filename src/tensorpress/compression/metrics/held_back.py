"""Calibration images that nothing is fitted, measured or trained on."""

import torch

from tensorpress.choices import FEWEST
from tensorpress.errors import TensorpressError
from tensorpress.rows import Rows

SHARE = 0.2
LEAST = 32


def hold_back(images: Rows, seed: int) -> tuple[Rows, Rows]:
    """The images to judge by, and the others in their order.

    A fifth, and 32 at least, are drawn with ``seed``.

    Raises:
        TensorpressError: too few are left to calibrate on.
    """
    count = max(LEAST, round(SHARE * len(images)))
    if len(images) - count < FEWEST:
        raise TensorpressError(
            f"this budget holds {LEAST} calibration images back and needs {FEWEST} others, "
            f"and {len(images)} were given; a few hundred are better."
        )
    return split_off(images, count, seed)


def split_off(images: Rows, count: int, seed: int) -> tuple[Rows, Rows]:
    """So many images, drawn with ``seed``, and the others, both in their order."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held, rest = order[:count].sort().values, order[count:].sort().values
    return images[held.to(images.device)], images[rest.to(images.device)]
