"""Generalised Kronecker product decomposition of a layer (Hameed et al., 2021)."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tensorpress.decompose import (
    Energy,
    RankRule,
    Ranks,
    RelativeError,
    SingularSum,
    kronecker,
    kronecker_spectrum,
    kronecker_sum,
)
from tensorpress.errors import TensorpressError
from tensorpress.layers.kinds import Layer, dimensions, group_channels, kernel_size, patch_size
from tensorpress.layers.layout import Layout, Sublayer, in_blocks, spatial_axes
from tensorpress.layers.methods.decomposition import (
    Cores,
    Decomposition,
    Factorization,
    target_kernels,
)
from tensorpress.layers.treatment import KERNEL, Fitter, Metric
from tensorpress.ranks.rules import Step
from tensorpress.ranks.spectrum import Floats, Spectrum

SIDES = 5
"""Divisors of a channel number that are tried, about evenly spread on a logarithmic scale."""


class Kronecker(Decomposition):
    """The kernel as a sum of R Kronecker products A_r (x) B_r.

    A is T1 x C1 and B is T/T1 x C/C1 with the whole kernel's axes. The layer becomes two: B's
    convolution for each of C1 blocks of channels, then A's 1x1 convolution for each of T/T1 blocks.
    Ranks are (R, T1, C1). Of the shapes that are tried, a rule takes the one that costs least, as
    the paper takes the one that fits best at a given cost.
    """

    name = "kronecker"
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, Ranks)

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        self.check_number(ranks, 3)
        inside, outside = group_channels(layer)
        rank, t1, c1 = ranks
        for part, whole, what in ((t1, outside, "output"), (c1, inside, "input")):
            if part < 1 or whole % part:
                raise TensorpressError(
                    f"Ranks{tuple(ranks)} of kronecker are R, T1 and C1, and {part} does not "
                    f"divide the {whole} {what} channels (of a group)."
                )
        t2 = outside // t1
        axes = spatial_axes(layer) + spatial_axes(layer, unit=True)
        return (
            *in_blocks("inner", c1, [Sublayer("spatial", inside // c1, rank * t2, axes)]),
            *in_blocks("outer", t2, [Sublayer("channels", c1 * rank, t1)], minor=True),
        )

    def nearest(self, ranks: Sequence[int], multiple: int) -> tuple[int, ...]:
        """R alone: T1 and C1 divide the channels."""
        return (*super().nearest(ranks[:1], multiple), *ranks[1:])

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:
        if isinstance(rule, Ranks):
            self.layout(layer, rule.values)

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        given = target_kernels(layer, metric)
        spectra: dict[tuple[int, int], list[Floats]] = {}

        def ranks_of(rule: RankRule) -> tuple[int, int, int]:
            self.check_ranks(layer, rule)
            if isinstance(rule, Ranks):
                return rule.values  # type: ignore[return-value]
            best, least = None, math.inf
            for shape in _shapes(layer):
                if shape not in spectra:
                    left = _left(layer, *shape)
                    spectra[shape] = [kronecker_spectrum(kernel, left) for kernel in given]
                rank = max(_rank(rule, squares) for squares in spectra[shape])
                cost = _cost(layer, rank, *shape)
                if cost < least:
                    best, least = (rank, *shape), cost
            assert best is not None
            return best

        def fit(rule: RankRule) -> Factorization:
            asked, t1, c1 = ranks_of(rule)
            sums = kronecker(given, _left(layer, t1, c1), Ranks(asked))
            ranks = (sums[0].rank, t1, c1)
            cores = [(found.left, found.right) for found in sums]
            return self.measured(layer, given, cores, ranks, clamped=ranks[0] < asked)

        return fit

    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:  # noqa: ARG002
        left, right = (torch.stack(core) for core in zip(*cores, strict=True))
        # (groups, R, C2, D1, ..., T2) to R T2 filters, and (groups, R, C1, 1, ..., T1) to T1.
        channels = left.flatten(2, -2).permute(0, 3, 2, 1)
        return [right.movedim(-1, 2), channels]

    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:  # noqa: ARG002
        return kronecker_sum(*(core.double() for core in cores))

    def balanced(self, cores: Cores) -> Cores:
        left, right = cores
        axes = tuple(range(1, left.dim()))
        norms = [torch.linalg.vector_norm(core.double(), dim=axes, keepdim=True) for core in cores]
        factor = torch.where(norms[0] > 0, (norms[1] / norms[0]).sqrt(), torch.ones_like(norms[0]))
        return (left * factor).to(left.dtype), (right / factor).to(right.dtype)


def _left(layer: Layer, t1: int, c1: int) -> tuple[int, ...]:
    """A's shape, in the order of the shifted kernel."""
    return c1, *[1] * dimensions(layer), t1


def _shapes(layer: Layer) -> list[tuple[int, int]]:
    """(T1, C1) to try: where A or B would be one number only if there are no others."""
    inside, outside = group_channels(layer)
    every = [(t1, c1) for t1 in _sides(outside) for c1 in _sides(inside)]
    whole = patch_size(layer) * outside
    return [(t1, c1) for t1, c1 in every if 1 < t1 * c1 < whole] or every


def _sides(number: int) -> list[int]:
    """Divisors nearest to 1, number^(1/4), ..., number."""
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    aims = [number ** (step / (SIDES - 1)) for step in range(SIDES)]
    return sorted({min(divisors, key=lambda n: abs(math.log(n / aim))) for aim in aims})


def _rank(rule: RankRule, squares: Floats) -> int:
    spectrum = Spectrum(squares, np.zeros_like(squares))
    return rule.choose(spectrum, Step(0, 1, float(squares.sum())), pessimistic=True)


def _cost(layer: Layer, rank: int, t1: int, c1: int) -> float:
    """Parameters and MACs of an output value, as shares of the layer's own, added up."""
    inside, outside = group_channels(layer)
    area = math.prod(kernel_size(layer))
    c2, t2 = inside // c1, outside // t1
    params = t1 * c1 + t2 * c2 * area
    macs = inside * t2 * area + outside * c1
    return rank * (params + macs) / (inside * outside * area)
