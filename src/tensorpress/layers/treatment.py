"""The one interface of all that replaces a layer: prepared under a metric, it gives options."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from tensorpress.decompose import RULES, Energy, RankRule, Ranks, check_rule
from tensorpress.decompose.second_moments import SecondMoments
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers.eligible import why_not
from tensorpress.layers.kinds import Layer

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.75, 0.8, 0.85, 0.89, 0.92, 0.95, 0.97, 0.985)
"""Energy thresholds that are considered for a layer where losses decide."""
LEAST = 1e-9


class Replacement(nn.Module):
    """Marks a module that stands in the place of a layer: it is counted and traced as one.

    Attributes:
        ranks: in the treatment's own order.
    """

    ranks: tuple[int, ...]

    @property
    def method(self) -> str:
        """The treatment's name."""
        raise NotImplementedError


@dataclass(frozen=True)
class Metric:
    """What a layer's replacement is to come near to, and by what its distance is measured.

    Attributes:
        moments: of each group, the second moments (P, P) of the patches that the layer is fed, by
            which the distance is that of the outputs; None for that of the kernels.
        target: kernels to come near to in place of the layer's own, (groups, P, T/groups).
        sweeps: of alternating least squares, for a treatment that has them.
        rough: whether errors may be estimates, as where options are compared.
    """

    moments: Sequence[SecondMoments] | None = None
    target: Tensor | None = None
    sweeps: int = 0
    rough: bool = False


KERNEL = Metric()
"""The layer's own kernel, by the plain norm."""


class Fit(Protocol):
    """One option for a layer: what a treatment makes of it under one rule.

    Attributes:
        ranks: what tells the option from others of its treatment, as the account and files have it.
        kept_energy: ``1 - relative_error^2``; None where nothing is approximated.
        relative_error: under the metric, ``||W - W'|| / ||W||``; None likewise.
        clamped: whether ranks given by hand were over their bounds.
        remark: what else the account says of it.
    """

    @property
    def ranks(self) -> tuple[int, ...]: ...
    @property
    def kept_energy(self) -> float | None: ...
    @property
    def relative_error(self) -> float | None: ...
    @property
    def clamped(self) -> bool: ...
    @property
    def remark(self) -> str: ...

    def to_module(self, layer: Layer, *, balanced: bool = False) -> nn.Module:
        """What replaces ``layer``; ``balanced`` spreads the scale over its factors, if it has any.

        dtype, device, train/eval mode and ``requires_grad`` are the layer's.
        """

    def kernels(self, layer: Layer) -> Tensor:
        """The kernels that it stands for, unfolded: (groups, P, T/groups), in float64."""

    def with_bias(self, bias: Tensor) -> "Fit":
        """The same with another bias than the layer's."""

    def with_clamped(self, clamped: bool) -> "Fit":
        """The same, and whether the ranks that it came from were clamped."""

    def cost(self, layer: Layer, inputs: Sequence[Sequence[int]]) -> tuple[int, int]:
        """Parameters and multiply-accumulates of the replacement.

        Args:
            inputs: the shape of the layer's input at each call of a forward pass.
        """


Fitter = Callable[[RankRule], Fit]
"""A prepared layer: it gives an option for every rule."""


class Treatment(ABC):
    """A way to replace a layer by something smaller.

    `tensorpress.compress` takes its name or, for one's own, an object. What has to be written is
    :meth:`prepare` and :meth:`build`; docs/own-method.md shows it.

    Attributes:
        name: as users write it.
        rules: the rules that it understands.
        data_aware: whether :meth:`prepare` looks at the moments of a metric; where no layer is,
            they are not computed.
        saves_macs: whether a replacement has to have fewer MACs besides fewer parameters.
        starts_at_random: whether its replacements are to be trained, and approximate nothing.
        steps: how many rules a budget is searched over, see :meth:`rule_at`.
        least: what step 0 leaves, as the error says it where that does not reach a budget.
    """

    name: str
    rules: tuple[type[RankRule], ...] = (Energy, Ranks)
    data_aware: bool = False
    saves_macs: bool = True
    starts_at_random: bool = False
    steps: int = 2**14
    least: str = "rank 1 in every layer that may be decomposed"

    @property
    def settings(self) -> dict[str, Any]:
        """What it was made with, as JSON values, for the record of a compression."""
        return {}

    @abstractmethod
    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        """What gives the options for a layer, under one rule after the other."""

    @abstractmethod
    def build(self, layer: Layer, ranks: Sequence[int], device: Any = None) -> nn.Module:
        """The replacement of these ranks for ``layer``, with weights not yet set.

        Raises:
            TensorpressError: ranks that the layer cannot have.
        """

    def stored_ranks(self, module: nn.Module) -> tuple[int, ...] | None:
        """What :meth:`build` needs to build ``module``; None if it is not of this treatment."""
        if isinstance(module, Replacement) and module.method == self.name:
            return module.ranks
        return None

    def why_not(self, layer: nn.Module) -> str | None:
        """Why a convolution or linear layer stays as it is; None if it can be replaced."""
        return why_not(layer)

    def check_rule(self, rule: object) -> None:
        """Raise TensorpressError unless ``rule`` is one that the treatment understands."""
        check_rule(rule)
        if not isinstance(rule, self.rules):
            known = ", ".join(kind.__name__ for kind in self.rules if kind.__name__ in RULES)
            raise TensorpressError(
                f"{self.name} does not understand {shown(rule)}: give one of {known}."
            )

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:  # noqa: B027 - few fix ranks
        """Raise for ranks that are not as many as ``layer`` takes, before it is looked at.

        Raises:
            TensorpressError: it says how many it takes.
        """

    def nearest(self, ranks: Sequence[int], multiple: int) -> tuple[int, ...]:
        """These ranks as the nearest multiples, at least one of them, for ``round_to``."""
        return tuple(multiple * max(1, round(rank / multiple)) for rank in ranks)

    def form(self, layer: Layer) -> Hashable:  # noqa: ARG002
        """What tells its replacements of ``layer`` from those of other treatments.

        Two treatments of the same form differ in name alone for this layer, as all trains of a 1x1
        convolution do, and one of them is enough to choose from.
        """
        return self.name

    def candidates(self, layer: Layer) -> Sequence[RankRule]:  # noqa: ARG002
        """The rules that are considered for a layer where losses decide, from the least kept on."""
        return tuple(map(Energy, SHARES))

    def rule_at(self, step: int) -> RankRule:
        """The rule that a budget of ratios tries at ``step``, 0 to ``steps``; more keep more.

        One step serves for the whole network: the largest that meets the budget.
        """
        return Energy(max(step / self.steps, LEAST))


def rounded(fitter: Fitter, treatment: Treatment, multiple: int) -> Fitter:
    """A fitter that goes on to the nearest multiples of the ranks that a rule gives."""
    if multiple == 1:
        return fitter

    def fit(rule: RankRule) -> Fit:
        found = fitter(rule)
        nearest = treatment.nearest(found.ranks, multiple)
        if nearest == found.ranks:
            return found
        return fitter(Ranks(*nearest)).with_clamped(found.clamped)

    return fit
