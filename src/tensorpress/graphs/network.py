"""A graph of ONNX as a network of PyTorch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.errors import TensorpressError
from tensorpress.graphs.segments import Segment
from tensorpress.graphs.weights import Other
from tensorpress.layers.kinds import out_channels
from tensorpress.layers.padded import Padded


@dataclass(frozen=True)
class Input:
    """What a graph takes.

    Attributes:
        name: its own.
        shape: None where a size is free.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Layer:
    """A call of a layer.

    Attributes:
        name: of the layer.
        node: the place of the node in its graph.
        takes, gives: the names of values.
        can_have_bias: whether such a node can.
    """

    name: str
    node: int
    takes: str
    gives: str
    can_have_bias: bool


@dataclass(frozen=True)
class Part:
    """A stage of the graph.

    Attributes:
        segment: None where nothing stands there.
        learnt: the places of what it has learnt among the network's other weights.
        layers: that are called behind it.
        last_read: the values that are not read any more then.
    """

    segment: Segment | None
    learnt: tuple[int, ...]
    layers: tuple[Layer, ...]
    last_read: tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """All of a graph that does not change when its layers are replaced; copies share it.

    Attributes:
        model: the ``onnx_ir.Model`` that was read, which stays as it is.
        digest: of what the file holds but for the values of its weights.
        inputs: in order.
        parts: in order of execution.
        outputs: names of values, and what those are that are constant.
        logits: the same, but of what rows of probabilities are computed from in their place.
        left: why nodes stay as they are that no layers could be made of, by name.
    """

    model: Any
    digest: str
    inputs: tuple[Input, ...]
    parts: tuple[Part, ...]
    outputs: tuple[str, ...]
    logits: tuple[str, ...]
    constants: Mapping[str, Tensor]
    left: Mapping[str, str]

    def __deepcopy__(self, memo: Any) -> "Structure":
        return self

    @property
    def batch(self) -> int | None:
        """How many inputs the file says that it takes at once; None for any number."""
        return next((taken.shape[0] for taken in self.inputs if taken.shape), None)

    @property
    def batched(self) -> tuple[bool, ...]:
        """Of each input, whether it has a row for each of the batch: a first size as the first's.

        One whose first size is another, and fixed, is taken as it is at every call.
        """
        sizes = (None, self.batch)
        return tuple(bool(taken.shape) and taken.shape[0] in sizes for taken in self.inputs)

    @property
    def layers(self) -> Iterator[Layer]:
        """The calls of layers, in order of execution."""
        return (layer for part in self.parts for layer in part.layers)

    @property
    def called(self) -> dict[str, str]:
        """The name of the layer that each node calls, by the node's name."""
        nodes = list(self.model.graph)
        return {nodes[layer.node].name: layer.name for layer in self.layers}


def rows_of(inputs: Sequence[Tensor], batched: Sequence[bool], which: Any) -> list[Tensor]:
    """Some rows of the inputs, and all of those that are the same for every row."""
    return [
        tensor[which] if is_batched else tensor
        for tensor, is_batched in zip(inputs, batched, strict=True)
    ]


class GraphNetwork(nn.Module):
    """A graph of ONNX whose convolutions and linear layers are layers of PyTorch.

    All between them is run by ONNX Runtime, so that there are no gradients. It is called on the
    graph's inputs in their order, and gives its outputs, a tensor or a tuple.

    Attributes:
        structure: what it was made of.
        others: stand for all other weights, so that they are counted; they hold no values, but for
            those that layers read too.
        rows: how many inputs the graph takes at once inside, of others so many at a time; None for
            any number, whatever the file says.
        channels_last: whether images, (N, C, H, W), reach the graph with their channels last.
        gives_logits: whether it gives logits in the place of rows of probabilities.
    """

    OWN = ("structure", "others", "rows", "channels_last", "gives_logits", "training")
    """Names that no layer of it can have."""

    def __init__(
        self, structure: Structure, layers: Mapping[str, nn.Module], others: Sequence[Other]
    ) -> None:
        super().__init__()
        self.structure = structure
        self.rows: int | None = None
        self.channels_last = False
        self.gives_logits = False
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.others = nn.ParameterList(
            other
            if isinstance(other, nn.Parameter)
            else nn.Parameter(torch.zeros(()).expand(other), requires_grad=False)
            for other in others
        )

    def forward(self, *inputs: Tensor) -> Any:
        wanted = len(self.structure.inputs)
        if len(inputs) != wanted:
            raise TensorpressError(f"the graph takes {wanted} inputs, and got {len(inputs)}.")
        inputs = tuple(self.fed(inputs))
        if self.rows is None or len(inputs[0]) == self.rows:
            found = self._run(inputs)
        else:
            found = self._in_turns(inputs, self.rows)
        return found[0] if len(found) == 1 else tuple(found)

    def fed(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Inputs as the graph itself takes them."""
        return [
            (x.movedim(1, -1) if self.channels_last and x.dim() > 2 else x).to(taken.dtype)
            for x, taken in zip(inputs, self.structure.inputs, strict=True)
        ]

    def make_ready(self) -> None:
        """Have it calibrated: with logits for answers, and a bias in every layer that can have one.

        A bias counts where it is made use of.
        """
        self.gives_logits = True
        for call in self.structure.layers:
            module = self.get_submodule(call.name)
            layer: Any = module.layer if isinstance(module, Padded) else module
            if call.can_have_bias and layer.bias is None:
                _add_bias(layer)

    def extra_repr(self) -> str:
        return f"graph={self.structure.digest}"

    def _in_turns(self, inputs: Sequence[Tensor], rows: int) -> list[Tensor]:
        """So many at a time, the last one again where there are too few."""
        count = len(inputs[0])
        turns = []
        for start in range(0, count, rows):
            places = torch.arange(start, start + rows).clamp(max=count - 1)
            turns.append(self._run(rows_of(inputs, self.structure.batched, places)))
        return [torch.cat(head)[:count] for head in zip(*turns, strict=True)]

    def _run(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        names = (taken.name for taken in self.structure.inputs)
        known = dict(zip(names, inputs, strict=True)) | dict(self.structure.constants)
        for part in self.structure.parts:
            segment = part.segment
            if segment is not None:
                learnt = [self.others[place] for place in part.learnt]
                given = segment([known[name] for name in segment.inputs], learnt)
                known.update(zip(segment.outputs, given, strict=True))
            for layer in part.layers:
                known[layer.gives] = self.get_submodule(layer.name)(known[layer.takes])
            for name in part.last_read:
                del known[name]
        asked = self.structure.logits if self.gives_logits else self.structure.outputs
        return [known[name] for name in asked]


def _add_bias(layer: Any) -> None:
    """Zeros that are no parameter: the file has none."""
    del layer._parameters["bias"]
    layer.register_buffer("bias", torch.zeros(out_channels(layer), dtype=layer.weight.dtype))
