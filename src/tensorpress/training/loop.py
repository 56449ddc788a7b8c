"""The epoch loop, on a data set that lives on the device, with one wait for it an epoch."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.data import Dataset
from tensorpress.errors import TensorpressError, refuse_no_seed
from tensorpress.surgery import arrange_for_training
from tensorpress.surgery.state import versioned
from tensorpress.training.batches import batches_of, seed_of
from tensorpress.training.distil import Objective, Teacher, learning_from
from tensorpress.training.mixup import mixed
from tensorpress.training.optimizers import make_optimizer, optimizer_state, restore_optimizer
from tensorpress.training.place import Place, find_place
from tensorpress.training.precision import in_bf16
from tensorpress.training.randomness import random_state, restore_random_state, seed_everything
from tensorpress.training.recipes import Recipe
from tensorpress.training.step import TrainStep

STEPS_BETWEEN_CHECKS = 50
STEPS_WORTH_COMPILING = 20_000
STEPS_WORTH_SEARCHING = 20_000
"""For the fastest kernels of cuDNN, which takes half a minute of a network of 200 convolutions."""
STEPS_BETWEEN_ASKING = 10
"""Of several processes, which have to agree on when they save."""
OnStep = Callable[[int, int], None]
"""Called after each step of an epoch with the steps done and the steps in all."""


@dataclasses.dataclass(frozen=True)
class Saving:
    """What is done within an epoch every so many seconds: ``save`` gets its number and a state."""

    seconds: float
    save: Callable[[int, dict[str, Any]], None]


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """One epoch: its number from 0, learning rate at its start, and means over its images."""

    epoch: int
    lr: float
    loss: float
    train_accuracy: float
    seconds: float


def fit(
    net: nn.Module,
    data: Dataset,
    recipe: Recipe,
    *,
    seed: int = 0,
    phase: str = "train",
    teacher: Teacher | None = None,
    place: Place | None = None,
    freeze_bn: bool = False,
    compiled: bool | None = None,
    bf16: bool | None = None,
    on_step: OnStep | None = None,
) -> Iterator[EpochResult]:
    """Train ``net`` in place by ``recipe``, on labels or from a teacher; yield each epoch's result.

    >>> for epoch in fit(net, data, Recipe(epochs=2)):  # doctest: +SKIP
    ...     print(epoch.loss)

    Raises:
        TensorpressError: see `Trainer`.
    """
    with learning_from(teacher, net) as objective:
        trainer = Trainer(
            net,
            data,
            recipe,
            seed=seed,
            phase=phase,
            objective=objective,
            place=place or find_place(),
            freeze_bn=freeze_bn,
            compiled=compiled,
            bf16=bf16,
        )
        for epoch in range(recipe.epochs):
            yield trainer.epoch(epoch, on_step)


class Trainer:
    """Trains ``net`` in place, an epoch at a time, and gives and takes its state in between.

    Order and augmentation of the images, and every other random number, follow from ``seed``,
    ``phase`` and the number of the epoch. ``freeze_bn`` keeps the running statistics of batch
    norms, and normalises by them. ``compiled`` compiles the step; left out, it does so on a
    GPU when the steps to come earn the compilation back. ``bf16`` computes the passes in bfloat16,
    weights and updates staying in float32; left out, it does so on a GPU. ``saving`` also keeps
    the state in the middle of epochs. On the CPU the same thread count gives the same bits.

    Raises:
        TensorpressError: no seed, fewer images than processes, a loss or a weight that is not
            finite, or ``bf16`` on a processor that does not compute in it.
    """

    def __init__(
        self,
        net: nn.Module,
        data: Dataset,
        recipe: Recipe,
        *,
        seed: int,
        phase: str,
        objective: Objective,
        place: Place,
        freeze_bn: bool = False,
        compiled: bool | None = None,
        bf16: bool | None = None,
        saving: Saving | None = None,
    ) -> None:
        refuse_no_seed(seed)
        self.net = net.to(place.device)
        self.recipe, self.seed, self.phase = recipe, seed, phase
        self.place, self.freeze_bn = place, freeze_bn
        example = torch.zeros(2, *data.input_shape, device=place.device)
        self.batches = batches_of(
            data,
            recipe.batch_size,
            place,
            channels_last=arrange_for_training(self.net, example),
        )
        self.optimizer = make_optimizer(self.net, recipe, place)
        self.step = TrainStep(
            self.net, self.optimizer, objective, place, bf16=in_bf16(bf16, place.device)
        )
        self.compiled = compiled
        self._recorded = place.device.type != "cuda" and not compiled
        self.saving = saving
        self._begun: dict[str, Any] | None = None

    def epoch(self, number: int, on_step: OnStep | None = None) -> EpochResult:
        """Train through epoch ``number``; ``on_step`` is called after each step.

        An epoch that was begun when the state was saved that `restore` was given goes on there.
        """
        began = saved = time.perf_counter()
        seed = seed_of(self.seed, self.phase, number)
        self._training_mode()
        self._record_once(number)
        seed_everything(seed)
        steps = self.batches.steps
        losses = torch.zeros(steps, device=self.place.device)
        correct = torch.zeros((), device=self.place.device)
        first, before, self._begun = 0, self._begun, None
        if before is not None:
            first = before["step"]
            began -= before["seconds"]
            losses[:first] = before["losses"].to(losses.device)
            correct += before["correct"].to(correct.device)
            restore_random_state(before["random"], self.place.device)
        for index, (inputs, labels) in enumerate(self._batches(seed, first), first):
            self.step(inputs, labels, self.recipe.lr_at(number + index / steps))
            losses[index].copy_(self.step.loss)
            correct += self.step.correct
            if (index + 1) % STEPS_BETWEEN_CHECKS == 0:
                self._check_losses(losses[: index + 1], number)
            if on_step is not None:
                on_step(index + 1, steps)
            if index + 1 < steps and self._save_is_due(index, saved):
                self._save(number, losses[: index + 1], correct, time.perf_counter() - began)
                saved = time.perf_counter()
        self._average_statistics()
        loss = self._check_losses(losses, number)
        self._check_weights(number)
        seen = steps * self.batches.size * self.place.world
        right = float(self.place.total(correct))
        return EpochResult(
            epoch=number,
            lr=self.recipe.lr_at(number),
            loss=loss,
            train_accuracy=100.0 * right / seen,
            seconds=time.perf_counter() - began,
        )

    def state(self) -> dict[str, Any]:
        """Weights, statistics and the optimiser's state, on the CPU, as plain tensors by name.

        The schedule and the random numbers are functions of the epoch and need no state.
        """
        held = optimizer_state(self.net, self.optimizer)
        return {"model": portable_state(self.net), "optimizer": held}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from what `state` gave.

        Raises:
            TensorpressError: it is of a network of another structure.
        """
        try:
            self.net.load_state_dict(state["model"])
        except RuntimeError as error:
            raise TensorpressError(
                "the checkpoint is of a network of another structure: the code that builds it has "
                "changed since. Start again in another folder."
            ) from error
        restore_optimizer(self.net, self.optimizer, state["optimizer"])
        self._begun = state.get("begun")

    def _batches(self, seed: int, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        batches = self.batches.epoch(seed, first)
        if not self.recipe.mixup:
            return batches
        classes, rank = self.batches.data.num_classes, self.place.rank
        return mixed(batches, self.recipe.mixup, classes, seed=seed, first=first, rank=rank)

    def _save_is_due(self, index: int, saved: float) -> bool:
        if self.saving is None:
            return False
        due = time.perf_counter() - saved >= self.saving.seconds
        if self.place.world == 1:
            return due
        return (index + 1) % STEPS_BETWEEN_ASKING == 0 and self.place.share(due)

    def _save(self, number: int, losses: Tensor, correct: Tensor, seconds: float) -> None:
        """Save the state in the middle of an epoch, of several processes what they have on average.

        The random numbers are those of the main process, which are the same in all of them.
        """
        assert self.saving is not None
        self._check_losses(losses, number)
        self._check_weights(number)
        state = self.state()
        means = {
            name: buffer.detach().clone()
            for name, buffer in self.net.named_buffers()
            if buffer.is_floating_point() and name in state["model"]
        }
        losses, correct = losses.clone(), correct.clone()
        self.place.average([*means.values(), losses, correct])
        state["model"] |= {name: mean.cpu().contiguous() for name, mean in means.items()}
        begun = {
            "step": len(losses),
            "losses": losses.cpu(),
            "correct": correct.cpu(),
            "seconds": seconds,
            "random": random_state(self.place.device),
        }
        self.saving.save(number, {**state, "begun": begun})

    def _training_mode(self) -> None:
        self.net.train()
        if self.freeze_bn:
            for module in self.net.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def _record_once(self, epoch: int) -> None:
        if not self._recorded:
            left = (self.recipe.epochs - epoch) * self.batches.steps
            compiled = left >= STEPS_WORTH_COMPILING if self.compiled is None else self.compiled
            torch.backends.cudnn.benchmark |= left >= STEPS_WORTH_SEARCHING
            inputs, labels = next(self._batches(seed=0))
            self.step.record(inputs, labels, compiled=compiled)
            self._recorded = True

    def _average_statistics(self) -> None:
        buffers = [buffer for buffer in self.net.buffers() if buffer.is_floating_point()]
        self.place.average(buffers)

    def _check_losses(self, losses: Tensor, epoch: int) -> float:
        losses = losses.clone()
        self.place.average([losses])
        values = losses.tolist()
        for step, loss in enumerate(values):
            if not math.isfinite(loss):
                raise TensorpressError(self._diverged(f"the loss became {loss}", epoch, step))
        return math.fsum(values) / len(values)

    def _check_weights(self, epoch: int) -> None:
        tensors = [t for t in (*self.net.parameters(), *self.net.buffers()) if t.numel()]
        if not torch.stack([tensor.isfinite().all() for tensor in tensors]).all():
            last = self.batches.steps - 1
            raise TensorpressError(self._diverged("a weight became NaN or inf", epoch, last))

    def _diverged(self, what: str, epoch: int, step: int) -> str:
        return (
            f"{what} in phase '{self.phase}', epoch {epoch + 1}, step {step + 1} of "
            f"{self.batches.steps}: lower the learning rate (it was "
            f"{self.recipe.lr_at(epoch + step / self.batches.steps):.3g}), or look for NaN in "
            "the weights and images."
        )


def portable_state(net: nn.Module) -> dict[str, Tensor]:
    """The state dict of ``net`` on the CPU and in plain memory order, to be written to a file."""
    held = net.state_dict().items()
    return versioned(net, {name: value.detach().cpu().contiguous().clone() for name, value in held})
