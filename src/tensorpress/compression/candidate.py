"""A layer that may be decomposed, and what a rank rule makes of it."""

from dataclasses import dataclass, replace
from functools import cached_property

from tensorpress.decompose import RankRule, Ranks
from tensorpress.layers import Factorization, Fitter, Layer, Method, find_method, prepare_layer
from tensorpress.surgery import SurveyedLayer


@dataclass(frozen=True)
class Candidate:
    """A layer to decompose by ``method``, to ranks that are multiples of ``round_to``."""

    surveyed: SurveyedLayer
    method: str
    round_to: int = 1

    @property
    def layer(self) -> Layer:
        assert isinstance(self.surveyed.module, Layer)
        return self.surveyed.module

    @property
    def decomposition(self) -> Method:
        return find_method(self.method)

    @cached_property
    def fitter(self) -> Fitter:
        """What decomposes the layer; it keeps what the rules tried on it have in common."""
        return self.rounding(prepare_layer(self.surveyed.name, self.layer, self.method))

    def rounding(self, fitter: Fitter) -> Fitter:
        """A fitter that goes on to the nearest multiples of the ranks that a rule gives."""
        multiple = self.round_to
        if multiple == 1:
            return fitter

        def fit(rule: RankRule) -> Factorization:
            found = fitter(rule)
            nearest = tuple(multiple * max(1, round(rank / multiple)) for rank in found.ranks)
            if nearest == found.ranks:
                return found
            return replace(fitter(Ranks(*nearest)), clamped=found.clamped)

        return fit


@dataclass(frozen=True)
class Choice:
    """A decomposition of a candidate and its cost.

    Attributes:
        fit: the cores.
        params, macs: what the chain costs, predicted from its shapes.
    """

    candidate: Candidate
    fit: Factorization
    params: int
    macs: int

    @property
    def is_smaller(self) -> bool:
        """Whether the chain has fewer parameters and fewer MACs than the layer."""
        cost = self.candidate.surveyed.cost
        return self.params < cost.params and self.macs < cost.macs


def fit_layer(candidate: Candidate, rule: RankRule) -> Choice:
    """Decompose a candidate under a rank rule.

    Raises:
        TensorpressError: naming the layer, for a kernel or rule that does not suit it.
    """
    return choice_of(candidate, candidate.fitter(rule))


def choice_of(candidate: Candidate, fit: Factorization) -> Choice:
    """A decomposition of a candidate with what it costs."""
    inputs = candidate.surveyed.cost.inputs
    params, macs = candidate.decomposition.cost(candidate.layer, fit.ranks, inputs)
    return Choice(candidate, fit, params, macs)
