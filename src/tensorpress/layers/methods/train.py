"""Methods whose factors form a train: one convolution a core, one after the other."""

import math
from abc import abstractmethod
from collections.abc import Hashable, Sequence
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
from tensorpress.decompose.second_moments import SecondMoments
from tensorpress.errors import TensorpressError
from tensorpress.layers.data_aware import DataAwareTrains
from tensorpress.layers.kernels import whole_fit
from tensorpress.layers.kinds import Layer, dimensions, group_channels, kernel_size, patch_size
from tensorpress.layers.layout import (
    Layout,
    Sublayer,
    axis_name,
    channel_names,
    is_sublayer_name,
    spatial_axes,
)
from tensorpress.layers.methods.decomposition import (
    Cores,
    Decomposition,
    Factorization,
    target_kernels,
)
from tensorpress.layers.treatment import KERNEL, Fitter, Metric

WIDE = 2_048
"""Entries of a patch from which on half of the candidates are considered, for their time."""


@dataclass(frozen=True)
class Link:
    """One core: the axes that its sublayer works along, rising, and its mode.

    The mode is the product of the kernel's sizes along these axes, and at the first core of the
    channels that come in, at the last of those that go out, besides.
    """

    name: str
    axes: tuple[int, ...]
    mode: int


class TrainDecomposition(Decomposition):
    """A train of the circularly shifted kernel (C, D1, ..., Dd, T), some of its modes joined.

    Under the moments of what a layer is fed it is that of `tensorpress.decompose.data_aware_tt`.
    """

    data_aware = True
    rules: tuple[type[RankRule], ...] = (Energy, SingularSum, RelativeError, Ranks)

    @abstractmethod
    def links(self, layer: Layer) -> tuple[Link, ...]:
        """The sublayers of a layer, in order; their modes are the tensor to decompose."""

    def without_unit_modes(self, layer: Layer, values: tuple[int, ...]) -> tuple[int, ...]:  # noqa: ARG002
        """Ranks for all axes of a kernel, where some are 1 and have no core of their own."""
        return values

    def checked_links(self, layer: Layer) -> tuple[Link, ...]:
        """:meth:`links`, if they are a train of the layer's kernel.

        Raises:
            TensorpressError: links of which no chain could be made that computes what the layer
                does at full rank.
        """
        links = tuple(self.links(layer) or ())
        if len(links) < 2 or not all(isinstance(link, Link) for link in links):
            raise TensorpressError(f"{self.name}: links() gives at least two Links.")
        names = [link.name for link in links]
        if len(set(names)) < len(names) or not all(map(is_sublayer_name, names)):
            raise TensorpressError(
                f"{self.name}: the links are named {names}; names differ, and "
                "are such as 'vertical'."
            )
        along = [axis for link in links for axis in link.axes]
        if sorted(along) != list(spatial_axes(layer)) or any(
            list(link.axes) != sorted(link.axes) for link in links
        ):
            raise TensorpressError(
                f"{self.name}: the links work along the axes {along}, and the kernel is over 1 "
                f"along {list(spatial_axes(layer))}: each of these belongs to one link."
            )
        sizes, (inside, outside) = kernel_size(layer), group_channels(layer)
        wanted = [math.prod(sizes[axis] for axis in link.axes) for link in links]
        wanted[0] *= inside
        wanted[-1] *= outside
        modes = [link.mode for link in links]
        if modes != wanted:
            raise TensorpressError(
                f"{self.name}: the links have the modes {modes}; those of their axes, with the "
                f"channels in at the first and the channels out at the last, are {wanted}."
            )
        return links

    def form(self, layer: Layer) -> Hashable:
        return tuple((link.axes, link.mode) for link in self.checked_links(layer))

    def arranged(self, layer: Layer, kernel: Tensor) -> Tensor:
        """The tensor to decompose, its axes in the order of the links.

        Args:
            kernel: (C, D1, ..., Dd, T).
        """
        links = self.checked_links(layer)
        return kernel.permute(_order(layer, links)).reshape([link.mode for link in links])

    def decompose(self, tensors: Sequence[Tensor], rule: RankRule) -> list[TensorTrain]:
        """Trains with common ranks for the tensors of all groups."""
        return tt_svd_common(tensors, rule)

    def layout(self, layer: Layer, ranks: Sequence[int]) -> Layout:
        links = self.checked_links(layer)
        self.check_number(ranks, len(links) - 1)
        inside, outside = group_channels(layer)
        # An axis with kernel 1 gives its stride and padding to the first sublayer.
        unit = spatial_axes(layer, unit=True)
        return tuple(
            Sublayer(link.name, *sides, link.axes + (unit if link is links[0] else ()))
            for link, sides in zip(links, pairwise([inside, *ranks, outside]), strict=True)
        )

    def full_ranks(self, layer: Layer) -> tuple[int, ...]:
        """Of each bond the smaller side of the kernel unfolded there (eq. 15)."""
        modes = [link.mode for link in self.links(layer)]
        return tuple(min(math.prod(modes[:n]), math.prod(modes[n:])) for n in range(1, len(modes)))

    def suited(self, layer: Layer, rule: RankRule) -> RankRule:
        """Fixed ranks without those of axes with kernel 1; any other rule as it is."""
        if not isinstance(rule, Ranks):
            return rule
        values = self.without_unit_modes(layer, rule.values)
        return rule if values == rule.values else Ranks(*values)

    def check_ranks(self, layer: Layer, rule: RankRule) -> None:
        self.suited(layer, rule).check_order(len(self.checked_links(layer)))

    def candidates(self, layer: Layer) -> Sequence[RankRule]:
        every = super().candidates(layer)
        return every[::2] if patch_size(layer) >= WIDE else every

    def prepare(self, layer: Layer, metric: Metric = KERNEL) -> Fitter:
        if metric.moments is not None and self.data_aware:
            return self._prepare_aware(layer, metric.moments, metric)
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

    def _prepare_aware(
        self, layer: Layer, moments: Sequence[SecondMoments], metric: Metric
    ) -> Fitter:
        links = self.checked_links(layer)
        order, sizes = _order(layer, links), kernel_size(layer)
        modes = [math.prod(sizes[axis] for axis in link.axes) for link in links]
        modes[0] *= group_channels(layer)[0]
        joined = bool(links[-1].axes)
        seen = (group_channels(layer)[0], *sizes)
        prepared = DataAwareTrains(
            [
                kernel.permute(order).reshape(*(modes if joined else modes[:-1]), -1)
                for kernel in target_kernels(layer, metric)
            ],
            [moment.rearranged(seen, order[:-1]) for moment in moments],
            joined=joined,
            rough=metric.rough,
        )
        dtype = layer.weight.dtype

        def fit(rule: RankRule) -> Factorization:
            found = prepared.fit(self.suited(layer, rule), sweeps=metric.sweeps)
            cores = tuple(tuple(core.to(dtype) for core in group) for group in found.cores)
            return Factorization(self, *found._replace(cores=cores))

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
        order = _order(layer, self.links(layer))
        sizes = (group_channels(layer)[0], *kernel_size(layer), group_channels(layer)[1])
        kernel = contract(tuple(core.double() for core in cores))
        kernel = kernel.reshape([sizes[axis] for axis in order])
        return kernel.permute([order.index(axis) for axis in range(len(order))])

    def balanced(self, cores: Cores) -> Cores:
        return balance(cores)


class AxisTrain(TrainDecomposition):
    """A train with a core for each axis, which may come in either order.

    Args:
        reverse: the last axis first.
    """

    base: str

    def __init__(self, *, reverse: bool = False) -> None:
        self.reverse = reverse
        self.name = f"{self.base}-reversed" if reverse else self.base

    def links(self, layer: Layer) -> tuple[Link, ...]:
        """A link for the channels in, one for each axis, one for the channels out."""
        first, last = channel_names(layer)
        inside, outside = group_channels(layer)
        sizes, axes = kernel_size(layer), self.ordered(spatial_axes(layer))
        along = (Link(axis_name(layer, axis), (axis,), sizes[axis]) for axis in axes)
        return Link(first, (), inside), *along, Link(last, (), outside)

    def ordered(self, axes: Sequence[int]) -> tuple[int, ...]:
        """Axes, or what there is one of for each, in the order of the train."""
        return tuple(reversed(axes)) if self.reverse else tuple(axes)


def _order(layer: Layer, links: Sequence[Link]) -> list[int]:
    """The axes of a kernel (C, D1, ..., Dd, T) in the order of the links."""
    along = [axis for link in links for axis in link.axes]
    return [
        0,
        *(1 + axis for axis in (*along, *spatial_axes(layer, unit=True))),
        1 + dimensions(layer),
    ]
