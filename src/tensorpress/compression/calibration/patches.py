"""The patches of its input that a convolution or linear layer looks at."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tensorpress.layers.kinds import (
    Layer,
    dimensions,
    groups_of,
    in_kernel_order,
    is_transposed,
    map_after,
    windows,
)


@dataclass(frozen=True)
class Sampler:
    """Takes the same random places of a layer's input and of its output.

    So many are taken of each call that of all calls together they are those wanted: of ordinary
    networks the same number of each image. What a network folds into the batch beside images, such
    as windows or frames, and the calls of a layer share the places of their image by their sizes.
    Places of a map are drawn with ``seed``; where as many are wanted as there are, each is taken
    once. The patch of the input that an output value is computed from goes with it.

    Attributes:
        wanted, of: how many places are taken in all, and how many there are.
        most: of a call, where there turn out to be more.
    """

    layer: Layer
    wanted: int
    of: int
    seed: int
    most: int | None = None

    def patches(self, x: Tensor) -> Tensor:
        """(groups, samples, P), P = C/groups D1 ... Dd in the order of the shifted kernel."""
        layer = self.layer
        dims = dimensions(layer)
        if not dims:
            return self._of_linear(x)
        seen = windows(layer, x)
        places = self._places(len(seen), self._sizes(x), x.device)
        taken = in_kernel_order(layer, _at(seen, places))  # (samples, C, D1, ..., Dd)
        size = math.prod(taken.shape[1:]) // groups_of(layer)
        return taken.reshape(len(taken), groups_of(layer), size).transpose(0, 1)

    def outputs(self, y: Tensor, x: Tensor) -> Tensor:
        """(groups, samples, T/groups): what the layer gives for ``x`` at places of its patches."""
        layer = self.layer
        dims = dimensions(layer)
        if not dims:
            return self._of_linear(y)
        y = y if y.dim() == dims + 2 else y.unsqueeze(0)
        places = self._places(len(y), self._sizes(x), y.device)
        taken = _at(y, places)
        size = taken.shape[1] // groups_of(layer)
        return taken.reshape(len(taken), groups_of(layer), size).transpose(0, 1)

    def places_in(self, x: Tensor) -> int:
        """How many there are in what the layer is fed in a call."""
        dims = dimensions(self.layer)
        if not dims:
            return math.prod(x.shape[:-1])
        rows = len(x) if x.dim() == dims + 2 else 1
        return rows * math.prod(self._sizes(x))

    def _sizes(self, x: Tensor) -> list[int]:
        """Of the output map that places are taken of.

        What a transposed convolution adds behind it is left out: a call may ask for another size.
        """
        layer: Any = self.layer
        dims = dimensions(layer)
        sizes = map_after(layer, x.shape)[-dims:]
        if not is_transposed(layer):
            return sizes
        return [max(size - layer.output_padding[n], 1) for n, size in enumerate(sizes)]

    def _of_linear(self, values: Tensor) -> Tensor:
        values = values if values.dim() > 1 else values.unsqueeze(0)
        sizes = [math.prod(values.shape[1:-1])]
        places = self._places(len(values), sizes, values.device)
        rows = values.reshape(len(values), *sizes, values.shape[-1])
        return rows[places[0], places[1]].unsqueeze(0)

    def _places(self, rows: int, sizes: list[int], device: torch.device) -> list[Tensor]:
        """The rows of a call, and the places in their maps, of all samples."""
        in_row = math.prod(sizes)
        wanted = -(-self.wanted * rows * in_row // max(self.of, 1))
        wanted = wanted if self.most is None else min(wanted, self.most)
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.arange(rows)
        if wanted < rows:
            chosen = torch.randperm(rows, generator=generator)[:wanted].sort().values
        drawn = -(-wanted // max(len(chosen), 1))
        each = min(drawn, in_row)
        places = [chosen.repeat_interleave(each)]
        if drawn >= in_row:
            places += torch.unravel_index(torch.arange(each).repeat(len(chosen)), sizes)
        else:
            count = len(chosen) * each
            places += [torch.randint(max(s, 1), (count,), generator=generator) for s in sizes]
        return [of_axis.to(device) for of_axis in places]


def _at(maps: Tensor, places: list[Tensor]) -> Tensor:
    """All channels at places of maps (N, C, L1, ...): (samples, C, ...)."""
    return maps.movedim(1, len(places))[tuple(places)]
