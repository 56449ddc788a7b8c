"""Methods whose factors form a train: one convolution a core, one after the other."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from tensorpress.decompose import (
    Energy,
    RankRule,
    Ranks,
    RelativeError,
    SingularSum,
    TensorTrain,
    balance,
    contract,
    tt_svd_common,
)
from tensorpress.layers.kernels import whole_fit
from tensorpress.layers.kinds import Layer, group_channels
from tensorpress.layers.layout import Layout, Sublayer, spatial_axes
from tensorpress.layers.methods.decomposition import (
    Cores,
    Decomposition,
    Factorization,
    folded,
    target_kernels,
)
from tensorpress.layers.treatment import KERNEL, Fitter, Metric


@dataclass(frozen=True)
class Link:
    """One core: the axes that its sublayer works along, and its mode.

    The first core's mode is the channels that come in, the last one's those that go out, with the
    axes that these cores work along.
    """

    name: str
    axes: tuple[int, ...]
    mode: int


class TrainDecomposition(Decomposition):
    """A train of the circularly shifted kernel (C, D1, ..., Dd, T), some of its modes joined."""

    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, Ranks)

    @abstractmethod
    def links(self, layer: Layer) -> tuple[Link, ...]:
        """The sublayers of a layer, in order; their modes are the tensor to decompose."""

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:  # noqa: ARG002
        """Ranks for all axes of a kernel, where some are 1 and have no core of their own."""
        return values

    def arranged(self, layer: Layer, kernel: Tensor) -> Tensor:
        """The tensor to decompose, from a kernel (C, D1, ..., Dd, T)."""
        return kernel.reshape([link.mode for link in self.links(layer)])

    def decompose(self, tensors: Sequence[Tensor], rule: RankRule) -> list[TensorTrain]:
        """Trains with common ranks for the tensors of all groups."""
        return tt_svd_common(tensors, rule)

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        links = self.links(layer)
        self.check_number(ranks, len(links) - 1)
        inside, outside = group_channels(layer)
        # An axis with kernel 1 gives its stride and padding to the first sublayer.
        unit = spatial_axes(layer, unit=True)
        return tuple(
            Sublayer(link.name, *sides, link.axes + (unit if link is links[0] else ()))
            for link, sides in zip(links, pairwise([inside, *ranks, outside]), strict=True)
        )

    def suited(self, layer: Layer, rule: RankRule) -> RankRule:
        """Fixed ranks without those of axes with kernel 1; any other rule as it is."""
        if not isinstance(rule, Ranks):
            return rule
        values = self.without_unit_modes(layer, rule.values)
        return rule if values == rule.values else Ranks(*values)

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        tensors = [self.arranged(layer, kernel) for kernel in target_kernels(layer, metric)]
        dtype = layer.weight.dtype

        def fit(rule: RankRule) -> Factorization:
            suited = self.suited(layer, rule)
            trains = self.decompose(tensors, suited)
            fits = [(train.kept_energy, train.relative_error) for train in trains]
            kept, error = whole_fit(tensors, fits)
            ranks = trains[0].ranks
            return Factorization(
                method=self,
                cores=tuple(tuple(core.to(dtype) for core in train.cores) for train in trains),
                ranks=ranks,
                kept_energy=kept,
                relative_error=error,
                clamped=isinstance(suited, Ranks) and suited.values != ranks,
            )

        return fit

    def weights(self, layer: Layer, cores: Sequence[Cores]) -> list[Tensor]:
        inside, outside = group_channels(layer)
        factors = [torch.stack(core) for core in zip(*cores, strict=True)]
        ends = [inside, *(core.shape[3] for core in factors[:-1]), outside]
        # core (R, I, R'): the first eats C of I, the last gives T of it, the rest is kernel.
        return [
            core.reshape(len(cores), eaten, -1, given).permute(0, 3, 1, 2)
            for core, (eaten, given) in zip(factors, pairwise(ends), strict=True)
        ]

    def multiplied_out(self, layer: Layer, cores: Cores) -> Tensor:
        kernel = contract(tuple(core.double() for core in cores))
        return folded(layer, kernel)

    def balanced(self, cores: Cores) -> Cores:
        return balance(cores)
