"""What stands between the layers of a graph, run by ONNX Runtime as operations of PyTorch."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

from tensorpress.graphs.nodes import read_by
from tensorpress.graphs.sessions import session_of

_numbers = itertools.count()
_segments: WeakValueDictionary[int, "Segment"] = WeakValueDictionary()


class Segment:
    """Values of a graph computed from others, all of them tensors.

    Attributes:
        inputs, outputs: their names.
    """

    def __init__(
        self, model: Any, inputs: Sequence[Any], outputs: Sequence[Any], types: Mapping[str, Any]
    ) -> None:
        self.inputs = tuple(value.name for value in inputs)
        self.outputs = tuple(value.name for value in outputs)
        self._session = session_of(model, inputs, outputs, types)
        self.number = next(_numbers)
        _segments[self.number] = self

    def __call__(self, tensors: Sequence[Tensor], learnt: Sequence[Tensor]) -> list[Tensor]:
        """The outputs. What it has learnt is given to tell those who look on."""
        if not tensors:
            return self.run(tensors)
        given: list[Tensor] = run_segment(list(tensors), list(learnt), self.number)
        return given

    def run(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        arrays = [tensor.detach().cpu().contiguous().numpy() for tensor in tensors]
        found = self._session.run(None, dict(zip(self.inputs, arrays, strict=True)))
        device = tensors[0].device if tensors else None
        return [torch.from_numpy(array).to(device) for array in found]


@torch.library.custom_op("tensorpress::run_segment", mutates_args=())
def run_segment(
    inputs: list[Tensor],
    learnt: list[Tensor],  # noqa: ARG001 - for who looks on
    segment: int,
) -> list[Tensor]:
    """One operation, so that whoever follows a pass sees what it takes and gives."""
    return _segments[segment].run(inputs)


@dataclass(frozen=True)
class Stage:
    """A part of a graph that is run at once, and the layers that stand right behind it.

    Attributes:
        inputs, outputs: values that the part takes and gives; constants are its own.
        nodes: those in it.
        layers: nodes of layers.
    """

    inputs: dict[int, Any] = field(default_factory=dict)
    outputs: dict[int, Any] = field(default_factory=dict)
    nodes: list[Any] = field(default_factory=list)
    layers: list[Any] = field(default_factory=list)


def cut(
    graph: Any, layers: Sequence[Any], constants: Any, wanted: Sequence[Any] = ()
) -> list[Stage]:
    """The stages of a graph, as many as it has layers in a row at most, and one.

    The n-th part holds all that depends on n layers in a row and no more.

    Args:
        layers: nodes that are to be run apart.
        wanted: values that are to be had beside the graph's outputs.
    """
    apart = set(map(id, layers))
    depth: dict[int, int] = dict.fromkeys(map(id, graph.inputs), 0)
    maker: dict[int, int] = {}
    stages = [Stage()]
    for node in graph:
        if all(value in constants for value in node.outputs):
            continue
        level = max((depth.get(id(value), 0) for value in read_by(node)), default=0)
        if id(node) in apart:
            stages[level].layers.append(node)
            level += 1
            if level == len(stages):
                stages.append(Stage())
        else:
            stages[level].nodes.append(node)
            maker.update((id(value), level) for value in node.outputs)
        depth.update((id(value), level) for value in node.outputs)
    for level, stage in enumerate(stages):
        for node in stage.nodes:
            for value in read_by(node):
                if value not in constants and maker.get(id(value)) != level:
                    stage.inputs[id(value)] = value
    fed = [value for stage in stages for value in stage.inputs.values()]
    fed += [node.inputs[0] for stage in stages for node in stage.layers]
    for value in (*fed, *graph.outputs, *wanted):
        if id(value) in maker:
            stages[maker[id(value)]].outputs[id(value)] = value
    return stages
