"""How near a network in int8 comes to itself in float32."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.choices import FLOOR
from tensorpress.deploy.answer import answer_of, comparable, refuse_other_shapes, tells
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.int8.calibration import in_batches
from tensorpress.errors import TensorpressError, shown
from tensorpress.rows import classes

BATCH = 32
ALIKE = 1e-6
"""Of the largest output, up to which answers are the same but for rounding."""


@dataclass(frozen=True)
class Fidelity:
    """Answers in int8 beside those in float32; prints as a phrase.

    Attributes:
        agreement: the share of images with the same class, in all outputs that give classes; None
            of a network that gives none.
        error: the root of the mean squared difference over that of the outputs from their mean;
            the worst of the outputs.
        images: on how many.
    """

    agreement: float | None
    error: float
    images: int

    @property
    def kept(self) -> float:
        """What a floor is held against: the agreement, or without classes the share of the outputs'
        variance that is kept, 1 - error^2.
        """
        return 1 - self.error**2 if self.agreement is None else self.agreement

    def __str__(self) -> str:
        same = "" if self.agreement is None else f"agreement {100 * self.agreement:.1f} %, "
        return f"{same}relative error {self.error:.3f} on {self.images:,} images"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"agreement": self.agreement, "error": self.error, "images": self.images}

    def refuse_below(self, floor: float) -> None:
        """
        Raises:
            TensorpressError: less is kept than ``floor``.
        """
        if not self.kept >= floor:
            what = "an agreement" if self.agreement is not None else "a kept variance"
            raise TensorpressError(
                f"in int8 the network does not give what it gives in float32: {self}, and "
                f"{what} of {floor:g} is asked for: there is no plan, and nothing is written. Give "
                "more, and more typical, calibration images, stay with float32, or ask for less "
                "(min_agreement=, --min-agreement)."
            )


def fidelity(net: nn.Module, run: Callable[[Feed], list[Tensor]], rows: Feed) -> Fidelity:
    """Run both on the same rows.

    Args:
        net: in float32, in eval mode.
        run: the same network in int8.

    Raises:
        TensorpressError: the network gives something else than finite tensors, outputs of other
            shapes than in int8, or the same for all rows.
    """
    expected, found, counts = [], [], []
    for part in in_batches(rows, BATCH):
        tensors = answer_of(net, part)
        given = run(part.copied())
        _refuse_incomparable(tensors, given)
        expected.append([output.float() for output in tensors])
        found.append([output.float() for output in given])
        counts.append(len(part.tensors[0]))
    wanted, got = (
        [_joined(each, counts) for each in zip(*o, strict=True)] for o in (expected, found)
    )
    if len(rows.tensors[0]) > 1:
        _refuse_all_alike(wanted)
    same = [a == b for a, b in zip(classes(wanted), classes(got), strict=True)]
    agreement = float(torch.cat(same).double().mean()) if same else None
    errors = [_error(a, b) for a, b in zip(wanted, got, strict=True)]
    return Fidelity(agreement, max(errors), len(rows.tensors[0]))


def _refuse_incomparable(expected: list[Tensor], found: list[Tensor]) -> None:
    if not tells(expected):
        raise TensorpressError(
            "the network gives something else than finite tensors for these images, so that int8 "
            "has nothing to be held against: look for a diverged training, or for images that are "
            "not normalised."
        )
    refuse_other_shapes(
        expected,
        found,
        "int8",
        "leave out of the network what picks some of its answers, or stay with float32",
    )


def _joined(outputs: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """One output for all rows; one without rows as all of its values."""
    in_rows = all(
        output.dim() and len(output) % count == 0
        for output, count in zip(outputs, counts, strict=True)
    )
    if in_rows and len({output.shape[1:] for output in outputs}) == 1:
        return torch.cat(list(outputs))
    return torch.cat([output.flatten() for output in outputs])


def _refuse_all_alike(outputs: list[Tensor]) -> None:
    """Of outputs that do not depend on the images every network in int8 would be right."""
    for output in outputs:
        values, _ = comparable(output, output)
        largest = values.abs().amax() if values.numel() else values.sum()
        if not output.numel() or bool((values - values[:1]).abs().amax() > ALIKE * largest):
            return
    raise TensorpressError(
        "the network gives the same for all of these images, so that nothing tells what int8 "
        "costs: give images that differ, as the network takes them, and a network with trained "
        "weights."
    )


def read_floor(min_agreement: float | None, *, in_int8: bool, usual: float = FLOOR) -> float:
    """What is asked for, and ``usual`` where nothing is.

    Raises:
        TensorpressError: no share, or one that nothing in int8 would be held to.
    """
    if min_agreement is None:
        return usual
    if not in_int8:
        raise TensorpressError(
            "min_agreement= (--min-agreement) is of a network in int8: give precision='int8' "
            "(--precision int8), or leave it out."
        )
    if not isinstance(min_agreement, (int, float)) or not 0 <= min_agreement <= 1:
        raise TensorpressError(
            f"min_agreement={shown(min_agreement)}: give a share from 0 to 1, such as {FLOOR}."
        )
    return float(min_agreement)


def _error(expected: Tensor, found: Tensor) -> float:
    expected, found = comparable(expected, found)
    mean = expected.mean(0) if len(expected) > 1 else expected.mean()  # of a single row: of it
    spread = float((expected - mean).square().sum())
    off = float((found - expected).square().sum())
    error = math.sqrt(off / spread) if spread else (math.inf if off else 0.0)
    return error if error == error else math.inf
