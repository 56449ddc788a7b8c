"""What a run asks of `tensorpress.compress`, whose calibration images are training images."""

from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.compression import Prospect, Request, check_compression, compress, foresee
from tensorpress.data import Dataset, unlabelled_of
from tensorpress.surgery import Account
from tensorpress.training.apart import AccuracyApart

MOST_TO_JUDGE = 5000
"""Training images that judge how far a score drops."""


def compress_for(
    net: nn.Module, data: Dataset, request: Request, *, progress: bool | None = None
) -> Account:
    """The compressed copy of ``net`` and its account, per image of ``data``.

    Images go through the network on the device that it lies on.

    Raises:
        TensorpressError: as `tensorpress.compress`.
    """
    example, given = _given(net, data, request)
    return compress(net, example, **request.arguments(), **given, progress=progress)


def foresee_for(net: nn.Module, data: Dataset, request: Request) -> Prospect:
    """What :func:`compress_for` would do.

    Raises:
        TensorpressError: as `compress_for`, of what it refuses before it begins.
    """
    example, given = _given(net, data, request)
    return foresee(net, example, request, **given)


def check_for(net: nn.Module, data: Dataset, request: Request) -> None:
    """Raise what :func:`compress_for` refuses before it begins, and measure nothing.

    Raises:
        TensorpressError: as `foresee_for`.
    """
    example, given = _given(net, data, request)
    check_compression(net, example, request, **given)


def _given(net: nn.Module, data: Dataset, request: Request) -> tuple[Tensor, dict[str, Any]]:
    """The example inputs, and what is calibrated and scored on."""
    given: dict[str, Any] = {}
    if request.budget is not None and request.budget.needs_score:
        score = AccuracyApart.of(data, MOST_TO_JUDGE)
        data = score.data
        given["score"] = score
    if request.calibration is not None:
        images = unlabelled_of(data, most=request.calibration.images)
        given |= {"calibration": images, "recover": request.calibration.recovery}
    device = next(net.parameters()).device
    return torch.zeros(1, *data.input_shape, device=device), given
