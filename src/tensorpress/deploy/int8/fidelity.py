"""How near a network in int8 comes to itself in float32."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tensorpress.choices import FLOOR as FLOOR
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.int8.calibration import in_batches
from tensorpress.errors import TensorpressError, shown
from tensorpress.rows import classes
from tensorpress.surgery import run_examples

BATCH = 32


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
    """
    expected, found = [], []
    for part in in_batches(rows, BATCH):
        leaves = tree_leaves(run_examples(net, part.examples))
        tensors = (leaf for leaf in leaves if isinstance(leaf, Tensor))
        expected.append([_in_rows(leaf) for leaf in tensors])
        found.append([_in_rows(output) for output in run(part)])
    wanted, given = (
        [torch.cat(outputs) for outputs in zip(*o, strict=True)] for o in (expected, found)
    )
    same = [a == b for a, b in zip(classes(wanted), classes(given), strict=True)]
    agreement = float(torch.stack(same).double().mean()) if same else None
    errors = [_error(a, b) for a, b in zip(wanted, given, strict=True)]
    return Fidelity(agreement, max(errors), len(rows.tensors[0]))


def _in_rows(output: Tensor) -> Tensor:
    return output.float() if output.dim() else output.float().reshape(1)


def read_floor(min_agreement: float) -> float:
    """
    Raises:
        TensorpressError: no share.
    """
    if not isinstance(min_agreement, (int, float)) or not 0 <= min_agreement <= 1:
        raise TensorpressError(
            f"min_agreement={shown(min_agreement)}: give a share from 0 to 1, such as {FLOOR}."
        )
    return float(min_agreement)


def _error(expected: Tensor, found: Tensor) -> float:
    expected, found = expected.double(), found.double()
    spread = float((expected - expected.mean(0)).square().sum())
    off = float((found - expected).square().sum())
    error = math.sqrt(off / spread) if spread else (math.inf if off else 0.0)
    return error if error == error else math.inf
