"""What a network answers, of any form: the tensors in it, one for each head."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.errors import TensorpressError
from tensorpress.surgery import evaluating, not_running

Answer = tuple[Tensor, ...]
"""Tensors (N, ...) for N images, in a fixed order."""


def heads(given: Any, images: int) -> Answer:
    """The tensors of an answer that can be compared image by image.

    Those in tuples, lists, mappings and dataclasses, however deep, in order; of floating point, and
    with a row for each image. All else, such as None, anchors or a loss, is of no account.

    Raises:
        TensorpressError: there is none.
    """
    found = tuple(
        tensor
        for tensor in _tensors(given)
        if tensor.is_floating_point() and tensor.dim() and len(tensor) == images
    )
    if not found:
        raise TensorpressError(
            f"calibration compares what the network answers, and it gives a "
            f"{type(given).__name__} in which no tensor of floating-point values has a row for "
            "each image: wrap it so that it gives one."
        )
    return found


def outputs(net: nn.Module, parts: Iterable[Tensor]) -> Answer:
    """What the network answers in eval mode, each head in float32.

    Raises:
        TensorpressError: it does not take the images, or answers with NaN, inf or no tensor, or
            with tensors whose shapes depend on the images.
    """
    answers = []
    with evaluating(net), torch.no_grad():
        for part in parts:
            try:
                given = net(part)
            except Exception as error:  # a forward may raise anything
                raise not_running(net, part, "calibration images", error) from error
            answers.append(heads(given, len(part)))
    if len({tuple(tensor.shape[1:] for tensor in answer) for answer in answers}) > 1:
        raise TensorpressError(
            "the network answers in shapes that depend on the images, which cannot be compared: "
            "wrap it so that it gives what comes before, such as scores and boxes of all places."
        )
    joined = tuple(torch.cat(head).float() for head in zip(*answers, strict=True))
    if not all(bool(torch.isfinite(head).all()) for head in joined):
        raise TensorpressError(
            "the network answers calibration images with NaN or inf: look for images that are "
            "not normalised, or a diverged training."
        )
    return joined


def _tensors(given: Any) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, Mapping):
        for value in given.values():
            yield from _tensors(value)
    elif isinstance(given, (tuple, list)):
        for value in given:
            yield from _tensors(value)
    elif dataclasses.is_dataclass(given):
        for field in dataclasses.fields(given):
            yield from _tensors(getattr(given, field.name))
