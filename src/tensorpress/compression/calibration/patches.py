"""The patches of its input that a convolution or linear layer looks at."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tensorpress.layers import Layer


class Sampler:
    """Takes the same random places of every image, of a layer's input and of its output.

    ``per_image`` places of each image's output map are drawn once, with ``seed``; the patch of the
    input that an output value is computed from goes with it.
    """

    def __init__(self, layer: Layer, per_image: int, seed: int) -> None:
        self.layer, self.per_image, self.seed = layer, per_image, seed

    def patches(self, x: Tensor) -> Tensor:
        """(groups, samples, P), P = C/groups D1 ... Dd in the order of the shifted kernel."""
        layer: Any = self.layer
        if isinstance(layer, nn.Linear):
            return self._of_linear(x)
        dims = len(layer.kernel_size)
        x = x if x.dim() == dims + 2 else x.unsqueeze(0)
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        if any(layer._reversed_padding_repeated_twice):
            x = F.pad(x, layer._reversed_padding_repeated_twice, mode=mode)
        for axis in range(dims):
            reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
            x = x.unfold(2 + axis, reach, layer.stride[axis])[..., :: layer.dilation[axis]]
        places = self._places(len(x), list(x.shape[2 : 2 + dims]), x.device)
        taken = _at(x, places)  # (samples, C, D1, ..., Dd)
        grouped = taken.reshape(len(taken), layer.groups, -1)
        return grouped.transpose(0, 1)

    def outputs(self, y: Tensor) -> Tensor:
        """(groups, samples, T/groups): the layer's output at the places of its patches."""
        layer: Any = self.layer
        if isinstance(layer, nn.Linear):
            return self._of_linear(y)
        dims = len(layer.kernel_size)
        y = y if y.dim() == dims + 2 else y.unsqueeze(0)
        places = self._places(len(y), list(y.shape[2:]), y.device)
        taken = _at(y, places)
        return taken.reshape(len(taken), layer.groups, -1).transpose(0, 1)

    def _of_linear(self, values: Tensor) -> Tensor:
        rows = values.reshape(len(values), -1, values.shape[-1])
        places = self._places(len(rows), [rows.shape[1]], values.device)
        return rows[places[0], places[1]].unsqueeze(0)

    def _places(self, images: int, sizes: list[int], device: torch.device) -> list[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        count = images * self.per_image
        chosen = [torch.arange(images).repeat_interleave(self.per_image)]
        chosen += [torch.randint(size, (count,), generator=generator) for size in sizes]
        return [places.to(device) for places in chosen]


def _at(maps: Tensor, places: list[Tensor]) -> Tensor:
    """All channels at places of maps (N, C, L1, ...): (samples, C, ...)."""
    return maps.movedim(1, len(places))[tuple(places)]
