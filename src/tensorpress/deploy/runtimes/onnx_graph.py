"""A network as an ONNX graph whose factorised layers can be executed in any way."""

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tensorpress.deploy.execution import Candidate, factorized_layers, merge, realise
from tensorpress.deploy.execution.merge import works_along
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.format import import_runtimes
from tensorpress.deploy.formats.onnx import to_onnx
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.trace import trace
from tensorpress.errors import TensorpressError
from tensorpress.surgery import replace_layers

CLOSE = 1e-3
FUSED = ("Relu", "Add")
MOST_BYTES = 1_900_000_000


@dataclass(frozen=True)
class _Place:
    """Which factorised layer a node of the graph is.

    The exporter folds batch norms: ``scale`` is what it multiplied the kernel of each output
    channel with.
    """

    layer: str
    scale: NDArray[np.float64]


class OnnxGraph:
    """The graph of a network in which every factorised layer is its dense kernel.

    Attributes:
        model: the ``onnx.ModelProto``.
        chains: the sublayers of each factorised layer, by its name.
    """

    def __init__(self, model: Any, chains: Mapping[str, Iterable[nn.Module]]) -> None:
        self.model = model
        self.chains = {name: list(chain) for name, chain in chains.items()}
        self._onnx = import_runtimes("onnx", ("onnx",))["onnx"]
        self._weights = {init.name: init for init in model.graph.initializer}
        self._uses = Counter(value for node in model.graph.node for value in node.input)
        places = {node.name: self._find(node) for node in model.graph.node}
        self._places = {name: place for name, place in places.items() if place is not None}

    def variant(self, choice: Mapping[str, Candidate]) -> tuple[Any, dict[str, str]]:
        """The graph with its layers executed as chosen.

        A layer that the exporter has changed beyond recognition stays dense.

        Returns:
            the ``onnx.ModelProto``, and the layer that a node belongs to, by the names of the node
            and of its output. An activation or sum that runtimes fuse into a layer is the layer's.
        """
        graph = self._onnx.GraphProto()
        graph.CopyFrom(self._skeleton())
        owners: dict[str, str] = {}
        for node in self.model.graph.node:
            place = self._places.get(node.name)
            if place is None:
                graph.node.append(node)
                if node.op_type in FUSED:
                    of = next((owners[value] for value in node.input if value in owners), None)
                    owners |= {key: of for key in (node.name, node.output[0]) if of is not None}
                continue
            made, weights = self._chain(place, node, choice[place.layer])
            graph.node.extend(made)
            graph.initializer.extend(weights)
            owners |= dict.fromkeys(
                (key for n in made for key in (n.name, n.output[0])), place.layer
            )
        used = {value for node in graph.node for value in node.input}
        graph.initializer.extend(init for name, init in self._weights.items() if name in used)
        model = self._onnx.ModelProto()
        model.CopyFrom(self._frame())
        model.graph.CopyFrom(graph)
        return model, owners

    def _frame(self) -> Any:
        """The model without its graph."""
        frame = self._onnx.ModelProto(
            ir_version=self.model.ir_version, producer_name=self.model.producer_name
        )
        frame.opset_import.extend(self.model.opset_import)
        frame.functions.extend(self.model.functions)
        return frame

    def _skeleton(self) -> Any:
        """The graph without nodes and weights."""
        graph = self._onnx.GraphProto(name=self.model.graph.name)
        graph.input.extend(self.model.graph.input)
        graph.output.extend(self.model.graph.output)
        return graph

    def _find(self, node: Any) -> _Place | None:
        """The layer that this node is the dense form of, if it is."""
        if node.op_type not in ("Conv", "Gemm"):
            return None
        weight = node.input[1]
        name = weight.removesuffix(".weight")
        if name not in self.chains or self._uses[weight] > 1 or weight not in self._weights:
            return None
        dense: Any = merge(self.chains[name])
        kernel = _matrix(dense.weight.detach().numpy())
        found = _matrix(self._onnx.numpy_helper.to_array(self._weights[weight]))
        if kernel.shape != found.shape or _attributes(node).get("transB", 1) != 1:
            return None
        squares = (kernel * kernel).sum(1)
        scale = np.divide(
            (found * kernel).sum(1), squares, out=np.ones_like(squares), where=squares > 0
        )
        if np.linalg.norm(found - scale[:, None] * kernel) > CLOSE * np.linalg.norm(found):
            return None
        return _Place(name, scale)

    def _chain(self, place: _Place, node: Any, candidate: Candidate) -> tuple[list[Any], list[Any]]:
        """The nodes and weights of a layer executed as ``candidate``."""
        layers: list[Any] = realise(self.chains[place.layer], candidate)
        nodes, weights = [], []
        value = node.input[0]
        for number, layer in enumerate(layers):
            last = number == len(layers) - 1
            key = f"{place.layer}/{number}"
            kernel = layer.weight.detach().numpy()
            if last:
                scale = place.scale.reshape(-1, *[1] * (kernel.ndim - 1))
                kernel = (kernel.astype(np.float64) * scale).astype(kernel.dtype)
            weights.append(self._onnx.numpy_helper.from_array(kernel, f"{key}/weight"))
            output = node.output[0] if last else f"{key}/out"
            inputs = [value, f"{key}/weight", *(node.input[2:] if last else ())]
            geometry = {"transB": 1} if node.op_type == "Gemm" else _geometry(layer, node)
            nodes.append(
                self._onnx.helper.make_node(node.op_type, inputs, [output], name=key, **geometry)
            )
            value = output
        return nodes, weights


def export_dense(net: nn.Module, feed: Feed) -> Any:
    """The ``onnx.ModelProto`` of a network with every factorised layer as its dense kernel.

    Raises:
        TensorpressError: a layer that cannot be exported, or over 1.9 GB of weights.
    """
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    if size > MOST_BYTES:
        raise TensorpressError(
            f"the network holds {size:,} bytes of weights, and an ONNX graph in memory at most "
            f"{MOST_BYTES:,}: plan it with runtime='torch'."
        )
    chains = factorized_layers(net)
    net = copy.deepcopy(net)
    dense = {name: merge(list(chain)) for name, chain in chains.items()}
    net = replace_layers(net, dense)
    with quiet():
        program = to_onnx(trace(net, feed.resized(2) if feed.batch == 1 else feed))
        return _without_wrapping(program.model_proto)


def read_graph(content: bytes) -> Any:
    """The ``onnx.ModelProto`` that was serialised."""
    return import_runtimes("onnx", ("onnx",))["onnx"].ModelProto.FromString(content)


def _matrix(kernel: NDArray[Any]) -> NDArray[np.float64]:
    return kernel.reshape(len(kernel), -1).astype(np.float64)


def _attributes(node: Any) -> dict[str, Any]:
    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _geometry(layer: Any, node: Any) -> dict[str, Any]:
    """A sublayer's attributes, with the dense layer's padding on the axes that it works along.

    Padding other than with zeros stands before the layer in the graph, for all axes at once.
    """
    dims = len(layer.kernel_size)
    pads = list(_attributes(node).get("pads", [0] * (2 * dims)))
    mine = [works_along(layer, axis) for axis in range(dims)]
    return {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.stride),
        "dilations": list(layer.dilation),
        "group": layer.groups,
        "pads": [pad if mine[at % dims] else 0 for at, pad in enumerate(pads)],
    }


def _without_wrapping(model: Any) -> Any:
    """Circular padding as slices put together: OpenVINO's reader of ONNX does not know it."""
    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    arrays = {i.name: i for i in model.graph.initializer}
    nodes = list(model.graph.node)
    del model.graph.node[:]
    for node in nodes:
        mode = _attributes(node).get("mode", b"constant") if node.op_type == "Pad" else b""
        if mode != b"wrap" or node.input[1] not in arrays:
            model.graph.node.append(node)
            continue
        pads = onnx.numpy_helper.to_array(arrays[node.input[1]])
        dims = len(pads) // 2
        value = node.input[0]
        axes = [axis for axis in range(dims) if pads[axis] or pads[axis + dims]]
        for axis in axes:
            key = f"{node.name}/{axis}"
            before, after = int(pads[axis]), int(pads[axis + dims])
            parts = [value]
            for side, (start, end) in {
                "before": (-before, np.iinfo(np.int64).max),
                "after": (0, after),
            }.items():
                if not (before if side == "before" else after):
                    continue
                names = []
                for what, number in {"start": start, "end": end, "axis": axis}.items():
                    names.append(f"{key}/{side}/{what}")
                    array = np.array([number], dtype=np.int64)
                    model.graph.initializer.append(onnx.numpy_helper.from_array(array, names[-1]))
                out = f"{key}/{side}"
                model.graph.node.append(
                    onnx.helper.make_node("Slice", [value, *names], [out], name=out)
                )
                parts = [out, *parts] if side == "before" else [*parts, out]
            value = node.output[0] if axis == axes[-1] else f"{key}/out"
            model.graph.node.append(
                onnx.helper.make_node("Concat", parts, [value], name=f"{key}/concat", axis=axis)
            )
    return model
