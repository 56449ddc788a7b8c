"""What a network answers, of any form: the tensors in it, one for each head."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.compression.calibration.kept_outputs import kept_outputs
from tensorpress.errors import TensorpressError, first_line
from tensorpress.rows import Rows, Samples, inputs_of, run
from tensorpress.surgery import evaluating, not_running, tensor_leaves

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
        for tensor in tensor_leaves(given)
        if tensor.is_floating_point() and tensor.dim() and len(tensor) == images
    )
    if not found:
        raise TensorpressError(
            f"calibration compares what the network answers, and it gives a "
            f"{type(given).__name__} in which no tensor of floating-point values has a row for "
            "each image: say what to compare, by outputs= (--outputs), names of modules that give "
            "one."
        )
    return found


def answer(net: nn.Module, part: Rows) -> Answer:
    """What is compared of what the network answers to a batch.

    Raises:
        TensorpressError: as :func:`heads`; or what says what is compared fails on the answer.
    """
    compared = part.compared if isinstance(part, Samples) else None
    if compared is None:
        return heads(run(net, part), len(part))
    if callable(compared):
        given = run(net, part)
        try:
            chosen = compared(given)
        except Exception as error:  # a function of the user's may raise anything
            raise TensorpressError(
                f"outputs= fails on what the network answers, a {type(given).__name__}: "
                f"{first_line(error)}"
            ) from error
        return heads(chosen, len(part))
    with kept_outputs(net, compared) as kept:
        run(net, part)
    return heads([kept.get(name) for name in compared], len(part))


def outputs(net: nn.Module, parts: Iterable[Rows]) -> Answer:
    """What the network answers in eval mode, each head in float32.

    Raises:
        TensorpressError: it does not take the images, or answers with NaN, inf or no tensor, or
            with tensors whose shapes depend on the images.
    """
    answers = []
    with evaluating(net), torch.no_grad():
        for part in parts:
            try:
                answers.append(answer(net, part))
            except TensorpressError:
                raise
            except Exception as error:  # a forward may raise anything
                raise not_running(net, inputs_of(part), "calibration images", error) from error
    if len({tuple(tensor.shape[1:] for tensor in answer) for answer in answers}) > 1:
        raise TensorpressError(
            "the network answers in shapes that depend on the images, which cannot be compared: "
            "compare what comes before, such as scores and boxes of all places, by outputs= "
            "(--outputs), names of modules."
        )
    joined = tuple(torch.cat(head).float() for head in zip(*answers, strict=True))
    if not all(bool(torch.isfinite(head).all()) for head in joined):
        raise TensorpressError(
            "the network answers calibration images with NaN or inf: look for images that are "
            "not normalised, or a diverged training."
        )
    return joined
