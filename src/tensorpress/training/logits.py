"""The logits in what a classifier answers, in use and in training."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.data import Dataset
from tensorpress.errors import TensorpressError, first_line
from tensorpress.surgery import run_examples, tensor_leaves

IMAGES = 2
"""That a network is tried on: a batch norm of one value a channel takes more than one."""


def logits_in(answer: Any) -> Tensor:
    """The first tensor of rows in an answer, (N, classes); a tensor comes back as it is.

    What networks with auxiliary heads give beside it in training is of no account.
    """
    if isinstance(answer, Tensor):
        return answer
    found = (x for x in tensor_leaves(answer) if x.dim() == 2 and x.is_floating_point())
    return next(found, torch.empty(0))


def require_answers(net: nn.Module, data: Dataset, device: torch.device) -> None:
    """Try ``net``, which lies on ``device``, on black images, before much work is done.

    Raises:
        TensorpressError: it does not take images of this shape, or gives no row of classes for
            each.
    """
    answer = run_examples(net, torch.zeros(IMAGES, *data.input_shape, device=device))
    _refuse_others(logits_in(answer), answer, data, IMAGES, "")


def require_gradients(net: nn.Module, data: Dataset, most: int = IMAGES) -> None:
    """Try a step of training on a copy, on the processor, before much work is done.

    Args:
        most: images of a batch, at most, that it will be trained on.

    Raises:
        TensorpressError: in training the network fails, or gives no logits, or none with gradients.
    """
    images = min(IMAGES, most)
    tried = copy.deepcopy(net).cpu().train()
    with torch.enable_grad(), torch.random.fork_rng([]):
        try:
            answer = tried(torch.zeros(images, *data.input_shape))
        except Exception as error:  # a forward may raise anything
            alone = " on a single image (--batch-size 1)" if images < IMAGES else ""
            raise TensorpressError(
                f"the network does not run in training mode{alone}, as net.train() has it: "
                f"{first_line(error)}"
            ) from error
    logits = logits_in(answer)
    _refuse_others(logits, answer, data, images, "in training mode ")
    if any(p.requires_grad for p in tried.parameters()) and not logits.requires_grad:
        raise TensorpressError(
            "the network's answers have no gradients, as under torch.no_grad(), so that it cannot "
            "be trained: call what has them."
        )


def _refuse_others(logits: Tensor, answer: Any, data: Dataset, images: int, when: str) -> None:
    if not logits.numel():
        raise TensorpressError(
            f"{when}the network gives a {type(answer).__name__} without a tensor of logits "
            "(N, classes): wrap it in a module that gives them."
        )
    if logits.shape != (images, data.num_classes):
        raise TensorpressError(
            f"{when}the network gives {tuple(logits.shape)} for {images} images; "
            f"{data.name} has {data.num_classes} classes: build it with that many."
        )
