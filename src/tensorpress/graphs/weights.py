"""The weights of a graph: those of its layers, and the others, which are only counted."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tensorpress.graphs.constants import Constants
from tensorpress.graphs.geometry import Left
from tensorpress.graphs.nodes import read_by
from tensorpress.layers.padded import Padded

SIZES = ("Resize", "Upsample")
"""Nodes whose constants are sizes, be they no whole numbers."""
NUMBERS = ("FLOAT", "FLOAT16", "BFLOAT16", "DOUBLE", "INT8", "UINT8", "INT4", "UINT4")

Other = tuple[int, ...] | nn.Parameter
"""The shape of a weight that no layer has, or the parameter of a layer that others read too."""


class LayerWeights:
    """The parameters of layers by the constants that they were made of, which layers may share.

    Biases are each layer's own, as those of its replacement are.
    """

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._made: dict[int, nn.Parameter] = {}

    def share(self, node: Any, layer: nn.Module) -> None:
        """Give the layer of a node the parameter of one whose weight is made of the same constant.

        Raises:
            Left: the constant is turned or scaled in another way for that one.
        """
        plain: Any = layer.layer if isinstance(layer, Padded) else layer
        for leaf in self._constants.leaves(node.inputs[1]):
            tensor = self._constants.tensor(leaf)
            if tensor is None or tensor.size != plain.weight.numel():
                continue
            made = self._made.setdefault(id(leaf), plain.weight)
            if made is not plain.weight and not torch.equal(made, plain.weight):
                raise Left("shares its weight with a layer that reads it in another way")
            plain.weight = made

    def made_of(self, leaf: Any) -> nn.Parameter | None:
        """The parameter that was made of a constant."""
        return self._made.get(id(leaf))


class OtherWeights:
    """The weights that others than layers read, also where a layer has them.

    Args:
        nodes: of layers.

    Attributes:
        held: in the order of their places.
    """

    def __init__(self, constants: Constants, nodes: Sequence[Any], layers: LayerWeights) -> None:
        self.held: list[Other] = []
        self._constants, self._layers = constants, layers
        self._places: dict[int, int | None] = {}
        for node in nodes:
            for value in node.inputs[1:]:
                leaves = constants.leaves(value)
                self._places |= {id(leaf): None for leaf in leaves if layers.made_of(leaf) is None}

    def of(self, nodes: Sequence[Any]) -> tuple[int, ...]:
        """The places of those that nodes read."""
        found = {}
        for node in nodes:
            values = [] if node.op_type in SIZES else read_by(node)
            for leaf in (leaf for value in values for leaf in self._constants.leaves(value)):
                if id(leaf) not in self._places:
                    self._places[id(leaf)] = self._place(leaf)
                found[self._places[id(leaf)]] = True
        return tuple(place for place in found if place is not None)

    def _place(self, leaf: Any) -> int | None:
        shared = self._layers.made_of(leaf)
        tensor = self._constants.tensor(leaf)
        if shared is not None:
            self.held.append(shared)
        elif tensor is None or tensor.dtype.name not in NUMBERS or tensor.size < 2:
            return None
        else:
            self.held.append(tuple(map(int, tensor.shape)))
        return len(self.held) - 1
