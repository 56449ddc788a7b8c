"""What every method of decomposition does, and what it gives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tensorpress.decompose import RankRule, check_rule, relative_error
from tensorpress.errors import TensorpressError
from tensorpress.layers.chain import Factorized, bias_of, build_chain, chain_cost, fill_chain
from tensorpress.layers.eligible import Layer, why_not
from tensorpress.layers.kernels import folded_kernels, group_kernels, whole_fit
from tensorpress.layers.layout import Layout

Cores = tuple[Tensor, ...]
Fitter = Callable[[RankRule], "Factorization"]


@dataclass(frozen=True)
class Factorization:
    """The cores of one layer and how well they fit.

    Attributes:
        method: the decomposition.
        cores: per group of the layer, its cores, in the method's own order.
        ranks: in the method's own order, the same for every group.
        kept_energy: ``||W'||^2 / ||W||^2`` over the whole kernel, W' being that of the cores.
        relative_error: ``||W - W'|| / ||W||`` over the whole kernel.
        clamped: whether ranks given by hand were over their bounds.
        remark: what else the account says of it.
        bias: in place of the layer's own, where the decomposition came with another.
    """

    method: "Method"
    cores: tuple[Cores, ...]
    ranks: tuple[int, ...]
    kept_energy: float
    relative_error: float
    clamped: bool
    remark: str = ""
    bias: Tensor | None = None

    def to_module(self, layer: Layer, *, balanced: bool = False) -> Factorized:
        """The chain that replaces ``layer``; ``balanced`` spreads the scale over the cores."""
        chain = self.method.build(layer, self.ranks)
        cores = [self.method.balanced(c) for c in self.cores] if balanced else self.cores
        fill_chain(chain, layer, self.method.weights(layer, cores))
        if self.bias is not None:
            bias_of(chain).data.copy_(self.bias)
        return chain

    def kernels(self, layer: Layer) -> Tensor:
        """The kernels that the cores of each group stand for, unfolded: (groups, P, T/groups)."""
        full = [self.method.multiplied_out(layer, cores) for cores in self.cores]
        return torch.stack([kernel.flatten(0, -2) for kernel in full])


class Method(ABC):
    """A decomposition of layers.

    Attributes:
        name: as users write it.
        rules: the rank rules that it understands.
    """

    name: str
    rules: tuple[type[RankRule], ...]

    def check_rule(self, rule: object) -> None:
        """Raise TensorpressError unless ``rule`` is a rank rule that the method understands."""
        check_rule(rule)
        if not isinstance(rule, self.rules):
            known = ", ".join(kind.__name__ for kind in self.rules)
            raise TensorpressError(
                f"{self.name} does not understand {rule!r}: give one of {known}."
            )

    def why_not(self, layer: Any) -> str | None:
        """Why a convolution or linear layer stays as it is; None if it can be decomposed."""
        return why_not(layer)

    @abstractmethod
    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        """The sublayers at these ranks.

        Raises:
            TensorpressError: ranks that the layer cannot have.
        """

    @abstractmethod
    def prepare(self, layer: Layer, kernels: Sequence[Tensor] | None = None) -> Fitter:
        """What decomposes a layer under one rule after the other.

        Args:
            kernels: what to decompose instead of the layer's own, (C, D1, ..., Dd, T) per group.
        """

    @abstractmethod
    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:
        """The weights of the sublayers, in PyTorch's order, from the cores of each group."""

    @abstractmethod
    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:
        """The kernel (C, D1, ..., Dd, T) that a group's cores stand for, in float64."""

    @abstractmethod
    def balanced(self, cores: Cores) -> Cores:
        """The same kernel from cores with the scale spread over them."""

    def fit(self, layer: Layer, rule: RankRule) -> Factorization:
        """Decompose a layer's kernel under a rank rule."""
        return self.prepare(layer)(rule)

    def build(self, layer: Layer, ranks: Sequence[int], device: Any = None) -> Factorized:
        """The chain for ``layer`` at these ranks, with weights not yet set.

        Raises:
            TensorpressError: ranks that the layer cannot have.
        """
        chain = build_chain(layer, self.layout(layer, ranks), device)
        chain.method, chain.ranks = self.name, tuple(ranks)
        return chain

    def cost(
        self, layer: Layer, ranks: Sequence[int], inputs: Sequence[Sequence[int]]
    ) -> tuple[int, int]:
        """Parameters and MACs of the chain; see :func:`tensorpress.layers.chain.chain_cost`."""
        return chain_cost(layer, self.layout(layer, ranks), inputs)

    data_aware = False
    """Whether :meth:`prepare_for` looks at the moments."""

    def prepare_for(
        self,
        layer: Layer,
        moments: Tensor | None,  # noqa: ARG002
        kernels: Tensor | None = None,
    ) -> Callable[[RankRule, int], Factorization]:
        """As :meth:`prepare`, for the inputs that ``moments`` tell of; it takes sweeps as well.

        A method without a solver of its own for this decomposes under the plain norm.

        Args:
            moments: second moments of the input patches, (groups, P, P).
            kernels: what to decompose instead of the layer's own, (groups, P, T/groups).
        """
        given = None if kernels is None else folded_kernels(layer, kernels)
        fitter = self.prepare(layer, given)
        return lambda rule, _sweeps: fitter(rule)

    def check_number(self, ranks: Sequence[int], number: int) -> None:
        """Raise TensorpressError unless there are so many ranks."""
        if len(ranks) != number:
            raise TensorpressError(f"{self.name} takes {number} ranks for it, not {tuple(ranks)}.")

    def measured(
        self,
        layer: Layer,
        kernels: Sequence[Tensor],
        cores: Sequence[Cores],
        ranks: tuple[int, ...],
        *,
        clamped: bool,
        remark: str = "",
    ) -> Factorization:
        """A factorization whose error is that of the cores as they are stored."""
        dtype = layer.weight.dtype
        stored = tuple(tuple(core.to(dtype) for core in group) for group in cores)
        if not all(bool(torch.isfinite(core).all()) for group in stored for core in group):
            raise TensorpressError(
                f"its factors overflow {dtype}: convert the layer to a dtype of wider range."
            )
        errors = [
            relative_error(kernel.double(), self.multiplied_out(layer, group))
            for kernel, group in zip(kernels, stored, strict=True)
        ]
        kept, error = whole_fit(list(kernels), [(max(0.0, 1.0 - e**2), e) for e in errors])
        return Factorization(self, stored, ranks, kept, error, clamped, remark)


def kernels_of(layer: Layer, kernels: Sequence[Tensor] | None) -> list[Tensor]:
    """Those that are given, or the layer's own."""
    return group_kernels(layer) if kernels is None else list(kernels)
