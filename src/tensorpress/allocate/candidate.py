"""A layer that may be decomposed, and what a rank rule makes of it."""

from dataclasses import dataclass

from tensorpress.decompose import RankRule
from tensorpress.layers import Factorization, Layer, chain_cost, factorize_layer
from tensorpress.surgery import SurveyedLayer


@dataclass(frozen=True)
class Candidate:
    """A layer to decompose by ``method``."""

    surveyed: SurveyedLayer
    method: str

    @property
    def layer(self) -> Layer:
        assert isinstance(self.surveyed.module, Layer)
        return self.surveyed.module


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
    name, layer = candidate.surveyed.name, candidate.layer
    return choice_of(candidate, factorize_layer(name, layer, candidate.method, rule))


def choice_of(candidate: Candidate, fit: Factorization) -> Choice:
    """A decomposition of a candidate with what it costs."""
    layer = candidate.layer
    params, macs = chain_cost(layer, fit.ranks, candidate.surveyed.cost.inputs)
    return Choice(candidate, fit, params, macs)
