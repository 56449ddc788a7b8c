"""Label-free distillation: the compressed network learns to answer as the original does."""

import copy
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from tensorpress.compression.calibration.answers import Answer, answer, outputs
from tensorpress.compression.calibration.divergence import divergence
from tensorpress.compression.calibration.images import even_batches
from tensorpress.compression.calibration.jitter import Jitter, jitter_of
from tensorpress.compression.calibration.kept_outputs import (
    distance,
    kept_outputs,
    mean_distance,
)
from tensorpress.compression.calibration.statistics import batch_norms, reestimate_batch_norm
from tensorpress.errors import TensorpressError
from tensorpress.layers import Factorized, channels_last, channels_second
from tensorpress.progress import progress_bar
from tensorpress.rows import Rows, changed, inputs_of
from tensorpress.surgery import (
    arrange_channels_last,
    arrange_for_training,
    copy_with,
    evaluating,
    trains_in_channels_last,
)

BATCH = 64
HELD_BACK = 0.1
"""Share of the calibration images that nothing is fitted or trained on; they judge the training."""
LEARNING_RATES = (4e-3, 5e-4)
LAYERS = 10.0
"""Weight of the decomposed layers' outputs beside the answers."""
TURNS = 2
"""A step compares every second layer, in turns: all of them would cost a fifth of its time."""
WARM_UP = 0.1


def distil(
    student: nn.Module,
    teacher: nn.Module,
    images: Rows,
    held: Rows,
    *,
    epochs: int,
    seed: int = 0,
    progress: bool | None = None,
) -> None:
    """Train ``student``, in place, on the answers of ``teacher`` to images without labels.

    The loss is the mean squared difference of the answers as a share of their variance, and the
    same of the outputs of decomposed layers, averaged over layers: from few images the answers
    alone teach little. Adam, one cycle; images are flipped and shifted at
    random (:func:`jitter_of`), and both networks see the same. Frozen parameters stay, unless all
    of them are frozen. If the divergence on ``held`` has not fallen, a smaller learning rate is
    tried, and if that does not help either, the student stays as it was. By the same measure batch
    norms end with statistics of the images as they were trained on, flipped and shifted, or as they
    are: weights fit the former, and the latter are those of use. All but batch norms is in eval
    mode: what networks answer in training may be of another form.

    Args:
        images: (N, C, H, W) or of another shape; only images are flipped and shifted.
        held: other ones, that ``student`` was not fitted on either.
        epochs: over ``images``.
    """
    teacher = copy.deepcopy(teacher)
    last = trains_in_channels_last(student)
    last = last and arrange_channels_last(teacher, inputs_of(images[:2]))
    arranged = channels_last if last else channels_second
    images, held = changed(images, arranged), changed(held, arranged)
    held_parts, parts = even_batches(held, BATCH), even_batches(images, 2 * BATCH)
    jitter = jitter_of(teacher, parts, seed)
    wanted = outputs(teacher, held_parts)
    before = float(divergence(outputs(student, held_parts), wanted))
    for rate in LEARNING_RATES:
        trained = copy_with(student, {})
        arrange_for_training(trained, inputs_of(images[:2]))
        if not any(parameter.requires_grad for parameter in trained.parameters()):
            for parameter in trained.parameters():
                parameter.requires_grad_(parameter.is_floating_point())
        _train(trained, teacher, images, jitter, epochs, rate, seed, progress)
        found = []
        for shown in (jitter.parts(parts, seed), parts) if batch_norms(trained) else ([],):
            reestimate_batch_norm(trained, shown)
            reached = _divergence_or_inf(trained, held_parts, wanted)
            found.append((reached, copy.deepcopy(trained.state_dict())))
        reached, state = min(found, key=lambda entry: entry[0])
        if reached < before:
            student.load_state_dict(state)
            return


def refuse_without_gradients(net: nn.Module, images: Rows) -> None:
    """Raise for a network that cannot be distilled, as its answers have no gradients.

    Raises:
        TensorpressError: such a one, as by ``@torch.no_grad()`` on its ``forward``.
    """
    with evaluating(net), torch.enable_grad():
        heads = answer(net, changed(images, _with_gradients))
    if not any(head.requires_grad for head in heads):
        raise TensorpressError(
            "distillation trains by gradients, and the network's answers have none, as under "
            "torch.no_grad(): call what has them, or do without, by recover=False "
            "(--no-recover)."
        )


def _with_gradients(tensor: Tensor) -> Tensor:
    return tensor.detach().clone().requires_grad_() if tensor.is_floating_point() else tensor


def _divergence_or_inf(student: nn.Module, parts: list[Rows], wanted: Answer) -> float:
    """Infinity where training has diverged, so that the student answers with NaN."""
    try:
        return float(divergence(outputs(student, parts), wanted))
    except TensorpressError:
        return math.inf


def _train(
    student: nn.Module,
    teacher: nn.Module,
    images: Rows,
    jitter: Jitter,
    epochs: int,
    rate: float,
    seed: int,
    progress: bool | None,
) -> None:
    layers = [name for name, m in student.named_modules() if isinstance(m, Factorized)]
    generator = torch.Generator().manual_seed(seed)
    batch = min(BATCH, len(images))
    steps = epochs * (len(images) // batch)
    optimiser = torch.optim.Adam(student.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=rate,
        total_steps=steps + 1,
        pct_start=(WARM_UP * steps + 1) / (steps + 1),  # PyTorch counts from the step before
        cycle_momentum=False,
    )
    teacher.eval()
    student.eval()
    for norm in batch_norms(student):  # all else may answer otherwise in training
        norm.train()
    with (
        progress_bar(show=progress) as bar,
        kept_outputs(student, layers) as maps,
        kept_outputs(teacher, layers) as wanted_maps,
    ):
        task = bar.add_task("distilling", total=steps)
        for epoch in range(epochs):
            for step, part in enumerate(_shuffled(images, batch, generator)):
                part = jitter(part, generator)
                compared = layers[(epoch + step) % TURNS :: TURNS]
                maps.clear()
                wanted_maps.clear()
                with torch.no_grad():
                    wanted = answer(teacher, part)
                optimiser.zero_grad()
                loss = _distance(answer(student, part), wanted)
                loss = loss + LAYERS * mean_distance(compared, maps, wanted_maps)
                torch.autograd.backward(loss)
                optimiser.step()
                schedule.step()
                bar.advance(task)


def _shuffled(images: Rows, batch: int, generator: torch.Generator) -> Iterator[Rows]:
    """Whole batches in random order; what is left over waits for another epoch."""
    order = torch.randperm(len(images), generator=generator)
    for start in range(0, len(images) - batch + 1, batch):
        yield images[order[start : start + batch]]


def _distance(found: Answer, wanted: Answer) -> Tensor:
    """The mean over heads of the squared difference as a share of what is wanted's variance."""
    return torch.stack([*map(distance, found, wanted)]).mean()
