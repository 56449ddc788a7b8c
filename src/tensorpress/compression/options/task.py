"""A layer that is to be treated, and the options that it has."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from torch import nn

from tensorpress.decompose import RankRule
from tensorpress.errors import TensorpressError
from tensorpress.layers import (
    Fit,
    Fitter,
    Layer,
    Metric,
    Treatment,
    prepare_layer,
    refuse_unreadable,
)
from tensorpress.layers.treatment import KERNEL, rounded
from tensorpress.surgery import SurveyedLayer


@dataclass(frozen=True)
class LayerTask:
    """A layer to treat by ``treatment``, to ranks that are multiples of ``round_to``."""

    surveyed: SurveyedLayer
    treatment: Treatment
    round_to: int = 1

    @property
    def name(self) -> str:
        """Of the plain layer, in a network with_plain_layers."""
        return self.surveyed.place

    @property
    def layer(self) -> Layer:
        """The layer, or the plain one that it stands for."""
        surveyed = self.surveyed
        return cast(Layer, surveyed.dense if surveyed.was else surveyed.module)

    def in_place(self, layer: nn.Module) -> nn.Module:
        """What stands in the network where ``layer`` is to do the work of this one."""
        apart = self.surveyed.apart
        return layer if apart is None else apart.joined(layer)

    @cached_property
    def fitter(self) -> Fitter:
        """What gives its options by the norm of its kernel.

        It keeps what the rules tried on it have in common.
        """
        return self.prepared(KERNEL)

    def prepared(self, metric: Metric) -> Fitter:
        """What gives its options under a metric; errors name the layer."""
        fitter = prepare_layer(self.name, self.layer, self.treatment, metric)
        return rounded(fitter, self.treatment, self.round_to)

    def option(self, fit: Fit) -> "LayerOption":
        """An option with what it costs."""
        params, macs = fit.cost(self.layer, self.surveyed.fed)
        return LayerOption(self, fit, params, macs)

    def at(self, rule: RankRule) -> "LayerOption":
        """The option that a rule gives by the norm of the kernel.

        Raises:
            TensorpressError: naming the layer, for a kernel or rule that does not suit it.
        """
        return self.option(self.fitter(rule))


@dataclass(frozen=True)
class LayerOption:
    """One way to treat a layer, and its cost.

    Attributes:
        fit: the replacement.
        params, macs: what it costs, predicted from its shapes.
    """

    task: LayerTask
    fit: Fit
    params: int
    macs: int

    def to_module(self, *, balanced: bool = False) -> nn.Module:
        """What stands in the network then."""
        made = self.fit.to_module(self.task.layer, balanced=balanced)
        return self.task.in_place(made)

    @property
    def is_smaller(self) -> bool:
        """Whether it has fewer parameters than the layer, and fewer MACs if it saves any at all.

        One that saves none must not take more of them, unless it starts at random.
        """
        cost, treatment = self.task.surveyed.cost, self.task.treatment
        fewer_macs = self.macs < cost.macs
        if not treatment.saves_macs:
            fewer_macs = self.macs <= cost.macs or treatment.starts_at_random
        return self.params < cost.params and fewer_macs


@dataclass(frozen=True)
class Pick:
    """What was chosen for a layer, or could be: a treatment, by its task, and the ranks.

    Attributes:
        option: where it was fitted on the way.
    """

    task: LayerTask
    ranks: tuple[int, ...]
    option: LayerOption | None = None

    @classmethod
    def of(cls, option: LayerOption) -> "Pick":
        return cls(option.task, option.fit.ranks, option)

    @property
    def name(self) -> str:
        """The layer's."""
        return self.task.name


def by_layer(tasks: Sequence[LayerTask]) -> dict[str, list[LayerTask]]:
    """The tasks of each layer, one for each treatment that it may get."""
    found: dict[str, list[LayerTask]] = {}
    for task in tasks:
        found.setdefault(task.name, []).append(task)
    return found


def refuse_unfit(tasks: Sequence[LayerTask]) -> None:
    """Raise for a layer whose replacement would lose something, or that is the whole network.

    Raises:
        TensorpressError: naming the layer, as :func:`tensorpress.layers.refuse_unreadable`.
    """
    for task in tasks:
        if not task.name:
            raise TensorpressError(
                "the network is one layer, and calibration looks at layers in a network: put it "
                "into nn.Sequential."
            )
        refuse_unreadable(task.name, task.layer)
