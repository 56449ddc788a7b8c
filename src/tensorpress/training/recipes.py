"""The training recipes of the paper, and ours for fine-tuning, as data."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

from tensorpress.errors import TensorpressError, shown
from tensorpress.networks import RESNETS, TT_CONV

Schedule = Literal["step", "cosine"]
SCHEDULES: tuple[Schedule, ...] = ("step", "cosine")
Optimizer = Literal["sgd", "adamw", "muon"]
MOST_MIXUP = 100.0
"""At which all shares are about a half."""
OPTIMIZERS: tuple[Optimizer, ...] = ("sgd", "adamw", "muon")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one phase of training goes: an optimiser and a schedule of the learning rate.

    ``optimizer`` is ``"sgd"``, with momentum, as in the paper, or ``"adamw"``, whose first moment
    ``momentum`` is then, or ``"muon"``, which orthogonalises the steps of the convolutions and
    takes those of AdamW elsewhere. At a learning rate of about 0.002 both win back more in few
    epochs than SGD does.

    ``schedule="step"`` multiplies ``lr`` by ``factor`` at each of the ``milestones``, in epochs
    from the start, fractions allowed; ``"cosine"`` lets it fall to 0 along half a cosine, step
    by step.
    ``weight_decay`` acts on every parameter, as in the paper; ``"adamw"`` and ``"muon"`` take it
    times the learning rate off the weights. ``nesterov`` is for SGD; Muon always looks ahead.
    ``batch_size`` is in images, for each process; the paper does not print it, 128 is ours.
    ``mixup`` is the alpha of Beta(alpha, alpha), which draws the share with which the images of a
    batch and their labels are mixed in pairs (Zhang et al., 2018); 0 mixes none.

    Raises:
        TensorpressError: a setting is out of its range.
    """

    epochs: int
    lr: float = 0.1
    weight_decay: float = 1e-4
    momentum: float = 0.9
    schedule: Schedule = "step"
    milestones: tuple[float, ...] = ()
    factor: float = 0.1
    batch_size: int = 128
    nesterov: bool = False
    optimizer: Optimizer = "sgd"
    mixup: float = 0.0

    def __post_init__(self) -> None:
        _require(self.epochs >= 0, "epochs", self.epochs, "0 or more")
        _require(math.isfinite(self.lr) and self.lr > 0, "lr", self.lr, "above 0")
        decay = self.weight_decay
        _require(0 <= decay < math.inf, "weight_decay", decay, "0 or more, and finite")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "from 0 up to, not with, 1")
        _require(self.batch_size >= 1, "batch_size", self.batch_size, "1 or more")
        _require(self.schedule in SCHEDULES, "schedule", self.schedule, " or ".join(SCHEDULES))
        _require(self.optimizer in OPTIMIZERS, "optimizer", self.optimizer, " or ".join(OPTIMIZERS))
        _require(
            self.momentum > 0 or not self.nesterov, "nesterov", self.nesterov, "off at momentum 0"
        )
        _require(0 <= self.mixup <= MOST_MIXUP, "mixup", self.mixup, f"from 0 to {MOST_MIXUP:g}")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> "Recipe":
        """The recipe of which ``settings`` is ``dataclasses.asdict``, read from JSON maybe.

        What it does not name, as an older version knew it not, is at its default.
        """
        return cls(**{**settings, "milestones": tuple(settings.get("milestones", ()))})

    def scaled(self, epochs: int) -> "Recipe":
        """The same recipe in ``epochs`` epochs: the milestones move in proportion.

        >>> Recipe(200, milestones=(100, 150)).scaled(10).milestones
        (5.0, 7.5)
        """
        whole = max(self.epochs, 1)
        milestones = tuple(milestone * epochs / whole for milestone in self.milestones)
        return dataclasses.replace(self, epochs=epochs, milestones=milestones)

    def changed(
        self,
        *,
        epochs: int | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        batch_size: int | None = None,
        schedule: Schedule | None = None,
        optimizer: Optimizer | None = None,
        mixup: float | None = None,
    ) -> "Recipe":
        """The recipe with what is given put in place; ``epochs`` scales the milestones.

        Raises:
            TensorpressError: a setting is out of its range, or an optimiser comes without ``lr``
                that wants another one than the recipe has.
        """
        given = {
            "lr": lr,
            "weight_decay": weight_decay,
            "batch_size": batch_size,
            "schedule": schedule,
            "optimizer": optimizer,
            "mixup": mixup,
        }
        recipe = self if epochs is None else self.scaled(epochs)
        if optimizer is not None and lr is None and recipe.epochs:
            alike = (optimizer == "sgd") == (self.optimizer == "sgd")
            if not alike and optimizer in OPTIMIZERS:
                raise TensorpressError(
                    f"optimizer is {optimizer} without a learning rate in the training recipe; it "
                    f"must be {self.optimizer} with its {self.lr:g}, or come with a rate of its "
                    "own (about 0.1 or less for sgd, 0.002 for adamw and muon)."
                )
        changes = {name: value for name, value in given.items() if value is not None}
        return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]

    def lr_at(self, epoch: float) -> float:
        """The learning rate ``epoch`` epochs into the phase; fractions are steps in between."""
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1.0 + math.cos(math.pi * min(epoch / self.epochs, 1.0)))
        return self.lr * self.factor ** sum(epoch >= milestone for milestone in self.milestones)


@dataclasses.dataclass(frozen=True)
class Recipes:
    """The two recipes of a network: for the dense baseline, and for fine-tuning after it."""

    train: Recipe
    finetune: Recipe


def recipes_for(network: str, *, paper: bool = False) -> Recipes:
    """The recipes for ``network``, a name such as ``"resnet56"``.

    The baseline is trained by the paper's, and fine-tuned by ours for as many epochs, or by the
    paper's as well. Networks that the paper does not have get short ones.
    """
    recipes = PAPER.get(network, SHORT)
    if paper:
        return recipes
    return dataclasses.replace(recipes, finetune=dataclasses.replace(recipes.finetune, **OURS))


def _require(holds: bool, name: str, given: object, allowed: str) -> None:
    if not holds:
        raise TensorpressError(
            f"{name} is {shown(given)} in the training recipe; it must be {allowed}."
        )


_RESNET = Recipe(epochs=200, lr=0.1, weight_decay=1e-4, milestones=(100, 150))
_VGG = Recipe(epochs=200, lr=0.1, weight_decay=1e-4, milestones=(80, 120))
_TT_CONV = Recipe(epochs=100, lr=0.1, weight_decay=0.0, milestones=(20, 40, 60, 80))

PAPER: Mapping[str, Recipes] = {
    "tt_conv_cnn": Recipes(_TT_CONV, _TT_CONV),
    **dict.fromkeys(TT_CONV, Recipes(_TT_CONV, _TT_CONV)),
    "vggnet": Recipes(_VGG, dataclasses.replace(_VGG, lr=0.01, weight_decay=1e-3)),
    **dict.fromkeys(RESNETS, Recipes(_RESNET, _RESNET)),
}
"""The recipes that the paper prints, for the networks of its Table 1 and their smaller kin."""

OURS: Mapping[str, Any] = {
    "lr": 0.002,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "optimizer": "muon",
}
"""What our recipe of fine-tuning has in place of the paper's: for accuracy in few epochs."""

SHORT = Recipes(
    Recipe(epochs=10, lr=0.05, weight_decay=5e-4, schedule="cosine"),
    Recipe(epochs=10, lr=0.03, weight_decay=1e-4, schedule="cosine"),
)
"""For networks that the paper does not have."""
