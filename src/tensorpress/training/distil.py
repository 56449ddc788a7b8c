"""What a training step makes small: cross-entropy on labels, or the distance to a teacher."""

import contextlib
import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from tensorpress.compression.calibration import kept_outputs, mean_distance
from tensorpress.deploy.execution.fold import fold_batch_norms
from tensorpress.deploy.feed import read_feed
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers import Factorized
from tensorpress.surgery import arrange_channels_last
from tensorpress.training.logits import logits_in

Objective = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logits (N, classes), inputs (N, C, H, W), labels) -> a scalar loss, a mean over images.

The labels are numbers of classes, (N,), or the share that each class has, (N, classes).
"""


@dataclasses.dataclass(frozen=True)
class Distillation:
    """How to learn from a teacher: ``alpha`` weighs its part, ``temperature`` softens it.

    ``layers`` weighs the distance of the decomposed layers' outputs to what the teacher's layers
    give, as a share of their variance and averaged over the layers; 0 leaves them alone.

    Raises:
        TensorpressError: ``alpha`` outside [0, 1], a temperature that is not above 0, a negative
            ``layers``, or one of them infinite.
    """

    temperature: float = 4.0
    alpha: float = 0.9
    layers: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise TensorpressError(
                f"distillation's alpha is {shown(self.alpha)}; it must be in [0, 1]."
            )
        if not 0.0 < self.temperature < math.inf:
            raise TensorpressError(
                f"distillation's temperature is {shown(self.temperature)}; it must be above 0, "
                "and finite."
            )
        if not 0.0 <= self.layers < math.inf:
            raise TensorpressError(
                f"distillation's weight of the layers is {shown(self.layers)}; it must be 0 or "
                "more, and finite."
            )


def label_loss(logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG001
    """Mean cross-entropy of ``logits`` with ``labels``, in nats."""
    return functional.cross_entropy(logits, labels)


def distillation_loss(
    logits: Tensor, teacher_logits: Tensor, labels: Tensor, how: Distillation
) -> Tensor:
    """``alpha T^2 KL(teacher/T || student/T) + (1 - alpha) CE`` (Hinton et al., 2015).

    ``logits`` and ``teacher_logits`` are (N, classes), ``labels`` (N,) or shares
    (N, classes); the loss is a mean over the images. At ``alpha = 1`` the labels are not looked at.
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

    ``net`` takes images of ``input_shape``, and stays as it is: a copy of it, on ``device`` and in
    evaluation mode, is asked. Its batch norms are folded, a quarter of a ResNet's time, unless what
    its layers give counts too.
    """

    def __init__(
        self,
        net: nn.Module,
        how: Distillation,
        input_shape: Sequence[int],
        device: torch.device | None = None,
    ) -> None:
        device = device or torch.device("cpu")
        feed = read_feed(torch.zeros(2, *input_shape), dynamic_batch=True)
        own = copy.deepcopy(net).cpu().eval()
        own = own if how.layers else fold_batch_norms(own, feed).net
        self.net = own.to(device).requires_grad_(False)
        self.how = how
        arrange_channels_last(self.net, torch.zeros(2, *input_shape, device=device))
        self._layers: list[str] = []
        self._given: dict[str, list[Tensor]] = {}
        self._wanted: dict[str, list[Tensor]] = {}

    def __call__(self, logits: Tensor, inputs: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits = logits_in(self.net(inputs)).float()
        loss = distillation_loss(logits, teacher_logits, labels, self.how)
        if self._layers:
            distance = mean_distance(self._layers, self._given, self._wanted)
            loss = loss + self.how.layers * distance
            self._given.clear()
            self._wanted.clear()
        return loss

    @contextlib.contextmanager
    def follow(self, student: nn.Module) -> Iterator[None]:
        """Within, the outputs of the student's decomposed layers count as ``how`` says.

        Raises:
            TensorpressError: they are to count, and there are none.
        """
        layers = [name for name, m in student.named_modules() if isinstance(m, Factorized)]
        if not self.how.layers:
            yield
            return
        if not layers:
            raise TensorpressError(
                f"distillation's weight of the layers is {self.how.layers:g} (--follow), and no "
                "layer of the network is decomposed: leave it out."
            )
        with (
            kept_outputs(student, layers, only_training=True) as given,
            kept_outputs(self.net, layers) as wanted,
        ):
            self._layers, self._given, self._wanted = layers, given, wanted
            yield
        self._layers = []


@contextlib.contextmanager
def learning_from(teacher: Teacher | None, student: nn.Module) -> Iterator[Objective]:
    """What ``student`` makes small: the distance to its teacher, or the loss on labels."""
    if teacher is None:
        yield label_loss
        return
    with teacher.follow(student):
        yield teacher
