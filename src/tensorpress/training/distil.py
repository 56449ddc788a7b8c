"""What a training step makes small: cross-entropy on labels, or the distance to a teacher."""

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from tensorpress.errors import TensorpressError

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits (N, classes), inputs (N, C, H, W), labels (N,)) -> a scalar loss, a mean over images."""


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How to learn from a teacher: ``alpha`` weighs its part, ``temperature`` softens it.

    Raises:
        TensorpressError: ``alpha`` outside [0, 1] or a temperature that is not above 0.
    """

    temperature: float = 4.0
    alpha: float = 0.9

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise TensorpressError(f"distillation's alpha is {self.alpha}; it must be in [0, 1].")
        if not self.temperature > 0.0:
            raise TensorpressError(
                f"distillation's temperature is {self.temperature}; it must be above 0."
            )


def label_loss(logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    """Mean cross-entropy of ``logits`` with ``labels``, in nats."""
    return functional.cross_entropy(logits, labels)


def distillation_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, how: Distillation
) -> Tensor:
    """``alpha T^2 KL(teacher/T || student/T) + (1 - alpha) CE`` (Hinton et al., 2015).

    ``logits`` and ``teacher_logits`` are (N, classes), ``labels`` (N,); the loss is a mean over
    the images. At ``alpha = 1`` the labels are not looked at.
    """
    soft = functional.kl_div(
        functional.log_softmax(logits / how.temperature, dim=1),
        functional.log_softmax(teacher_logits / how.temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    loss = how.alpha * how.temperature**2 * soft
    if how.alpha < 1.0:
        loss = loss + (1.0 - how.alpha) * functional.cross_entropy(logits, labels)
    return loss


class Teacher:
    """The objective of a student: to give what ``net`` gives on the same augmented images.

    ``net`` is put on ``device`` and in evaluation mode, and its weights stay as they are.
    """

    def __init__(self, net: nn.Module, how: Distillation, device: torch.device) -> None:
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net = net.eval().requires_grad_(False)
        self.how = how

    def __call__(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits = self.net(inputs).float()
        return distillation_loss(logits, teacher_logits, labels, self.how)
