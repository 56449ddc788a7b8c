"""The patches of its input that a convolution or linear layer looks at."""

import math
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


class Sampler:
    """Takes the same random places of every image, of a layer's input and of its output.

    ``per_image`` places of each image's output map are drawn once, with ``seed``; of a map that has
    no more than that, each is taken once. The patch of the input that an output value is computed
    from goes with it. Where a network folds more into the batch than images, such as windows or
    frames, these share the places of their image, and where they are more than the places, so many
    of them are drawn. Where it folds the images away, each of what is left has the places of
    several.
    """

    def __init__(self, layer: Layer, per_image: int, seed: int) -> None:
        self.layer, self.per_image, self.seed = layer, per_image, seed

    def patches(self, x: Tensor, images: int) -> Tensor:
        """(groups, samples, P), P = C/groups D1 ... Dd in the order of the shifted kernel.

        Args:
            x: what the layer is fed in a pass.
            images: of the pass.
        """
        layer = self.layer
        dims = dimensions(layer)
        if not dims:
            return self._of_linear(x, images)
        seen = windows(layer, x)
        places = self._places(len(seen), images, self._sizes(x), x.device)
        taken = in_kernel_order(layer, _at(seen, places))  # (samples, C, D1, ..., Dd)
        return taken.reshape(len(taken), groups_of(layer), -1).transpose(0, 1)

    def outputs(self, y: Tensor, x: Tensor, images: int) -> Tensor:
        """(groups, samples, T/groups): what the layer gives for ``x`` at places of its patches."""
        layer = self.layer
        dims = dimensions(layer)
        if not dims:
            return self._of_linear(y, images)
        y = y if y.dim() == dims + 2 else y.unsqueeze(0)
        places = self._places(len(y), images, self._sizes(x), y.device)
        taken = _at(y, places)
        return taken.reshape(len(taken), groups_of(layer), -1).transpose(0, 1)

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

    def _of_linear(self, values: Tensor, images: int) -> Tensor:
        rows = values.reshape(len(values), -1, values.shape[-1])
        places = self._places(len(rows), images, [rows.shape[1]], values.device)
        return rows[places[0], places[1]].unsqueeze(0)

    def _places(
        self, rows: int, images: int, sizes: list[int], device: torch.device
    ) -> list[Tensor]:
        """The rows, and the places in their maps, of all samples."""
        generator = torch.Generator().manual_seed(self.seed)
        wanted = self.per_image * images
        chosen = torch.arange(rows)
        if wanted < rows:
            chosen = torch.randperm(rows, generator=generator)[:wanted].sort().values
        drawn = -(-wanted // len(chosen))
        each = min(drawn, math.prod(sizes))
        places = [chosen.repeat_interleave(each)]
        if each < drawn:
            places += torch.unravel_index(torch.arange(each).repeat(len(chosen)), sizes)
        else:
            count = len(chosen) * each
            places += [torch.randint(size, (count,), generator=generator) for size in sizes]
        return [of_axis.to(device) for of_axis in places]


def _at(maps: Tensor, places: list[Tensor]) -> Tensor:
    """All channels at places of maps (N, C, L1, ...): (samples, C, ...)."""
    return maps.movedim(1, len(places))[tuple(places)]
