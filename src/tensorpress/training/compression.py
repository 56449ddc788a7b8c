"""What a run asks of `tensorpress.compress`, whose calibration images are training images."""

from typing import Any

import torch
from torch import nn

from tensorpress.compression import Request, compress
from tensorpress.data import Dataset, unlabelled_of
from tensorpress.errors import TensorpressError
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
    given = request.arguments()
    if request.budget is not None and request.budget.needs_score:
        score = AccuracyApart.of(data, MOST_TO_JUDGE)
        data = score.data
        given["score"] = score
    if request.calibration is not None:
        images = unlabelled_of(data, most=request.calibration.images)
        given |= {"calibration": images, "recover": request.calibration.recovery}
    device = next(net.parameters()).device
    example = torch.zeros(1, *data.input_shape, device=device)
    return compress(net, example, **given, progress=progress)


def up_to_date(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a run with its request as this version writes it.

    One that cannot be read stays as it is.
    """
    try:
        return {**config, "compression": Request.from_dict(config["compression"]).to_dict()}
    except (KeyError, TensorpressError):
        return config
