"""A network as an ONNX graph whose factorized layers can be executed in any way."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from tensorpress.deploy.execution import Execution, executions_of, factorized_layers, realise
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.format import import_runtimes
from tensorpress.deploy.formats.onnx import to_onnx
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.trace import trace
from tensorpress.errors import TensorpressError
from tensorpress.layers import plain_chain
from tensorpress.layers.kinds import works_along
from tensorpress.surgery import replace_layers

CLOSE = 1e-3
FUSED = (
    *("Add", "BatchNormalization", "Clip", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mul"),
    *("PRelu", "Relu", "Sigmoid", "Tanh"),
)
PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0, "auto_pad": b"NOTSET"}
MOST_BYTES = 1_900_000_000


@dataclass(frozen=True)
class _Place:
    """Which factorized layer a weight of the graph is the kernel of.

    The exporter folds batch norms: ``scale`` is what it multiplied the kernel of each output
    channel with.
    """

    layer: str
    scale: NDArray[np.float64]


_Kernels = dict[str, NDArray[Any]]


class OnnxGraph:
    """The graph of a network in which every factorized layer is its dense kernel.

    Attributes:
        model: the ``onnx.ModelProto``.
        chains: the sublayers of each factorized layer, by its name.
    """

    def __init__(self, model: Any, chains: Mapping[str, Iterable[nn.Module]]) -> None:
        self.model = model
        self.chains = {name: plain_chain(chain) for name, chain in chains.items()}
        self._onnx = import_runtimes("onnx", ("onnx",))["onnx"]
        self._weights = {init.name: init for init in model.graph.initializer}
        dense: dict[str, Any] = dense_kernels(self.chains)
        kernels = {name: layer.weight.detach().numpy() for name, layer in dense.items()}
        places = {node.name: self._find(node, kernels) for node in model.graph.node}
        self._places = {name: place for name, place in places.items() if place is not None}

    def rearranged(self, chains: Mapping[str, Iterable[nn.Module]]) -> "OnnxGraph":
        """The same graph with other chains for some of its factorized layers."""
        other = copy.copy(self)
        other.chains = self.chains | {name: plain_chain(chain) for name, chain in chains.items()}
        return other

    def variant(self, choice: Mapping[str, Execution]) -> tuple[Any, dict[str, str]]:
        """The graph with its layers executed as chosen.

        Layers that are not in ``choice``, or that the exporter has changed beyond recognition, stay
        dense.

        Returns:
            the ``onnx.ModelProto``, and the layer that a node belongs to, by the names of the node
            and of its output. What runtimes may fuse into a layer is the layer's, too: an
            activation, sum or factor.
        """
        graph = self._onnx.GraphProto()
        graph.CopyFrom(self._skeleton())
        owners: dict[str, str] = {}
        weights: _Kernels = {}
        for node in self.model.graph.node:
            place = self._places.get(node.name)
            if place is None or place.layer not in choice:
                graph.node.append(node)
                if node.op_type in FUSED:
                    of = next((owners[value] for value in node.input if value in owners), None)
                    owners |= {key: of for key in (node.name, node.output[0]) if of is not None}
                continue
            made, its_weights = self._chain(place, node, choice[place.layer])
            graph.node.extend(made)
            weights |= its_weights
            owners |= dict.fromkeys(
                (key for n in made for key in (n.name, n.output[0])), place.layer
            )
        used = {value for node in graph.node for value in node.input}
        graph.initializer.extend(init for name, init in self._weights.items() if name in used)
        graph.initializer.extend(
            self._onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in weights.items()
        )
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

    def _find(self, node: Any, kernels: _Kernels) -> _Place | None:
        """The layer that this node is the dense form of, if it is.

        Layers are known by their kernels: the exporter gives some weights other names.
        """
        if node.op_type not in ("Conv", "Gemm", "MatMul") or node.input[1] not in self._weights:
            return None
        attributes = _attributes(node)
        if any(attributes.get(name, value) != value for name, value in PLAIN.items()):
            return None
        found = self._onnx.numpy_helper.to_array(self._weights[node.input[1]])
        found = found.T if _is_transposed(node) else found
        own = node.input[1].removesuffix(".weight")
        for name in sorted(kernels, key=lambda name: name != own):
            if kernels[name].shape == found.shape and found.ndim > 1:
                scale = _scale_between(kernels[name], found)
                if scale is not None:
                    return _Place(name, scale)
        return None

    def _chain(self, place: _Place, node: Any, execution: Execution) -> tuple[list[Any], _Kernels]:
        """The nodes and weights of a layer executed as ``execution``."""
        layers: list[Any] = realise(self.chains[place.layer], execution)
        nodes, weights = [], {}
        value = node.input[0]
        for number, layer in enumerate(layers):
            last = number == len(layers) - 1
            key, weight = f"{place.layer}/{node.name}/{number}", f"{node.input[1]}/{number}"
            kernel = layer.weight.detach().numpy()
            if last:
                scale = place.scale.reshape(-1, *[1] * (kernel.ndim - 1))
                kernel = (kernel.astype(np.float64) * scale).astype(kernel.dtype)
            weights[weight] = kernel.T if _is_transposed(node) else kernel
            output = node.output[0] if last else f"{key}/out"
            inputs = [value, weight, *(node.input[2:] if last else ())]
            options = _geometry(layer, node) if node.op_type == "Conv" else _attributes(node)
            nodes.append(
                self._onnx.helper.make_node(node.op_type, inputs, [output], name=key, **options)
            )
            value = output
        return nodes, weights


def export_dense(net: nn.Module, feed: Feed) -> Any:
    """The ``onnx.ModelProto`` of a network with every factorized layer as its dense kernel.

    Raises:
        TensorpressError: a layer that cannot be exported, or over 1.9 GB of weights.
    """
    size = sum(p.numel() * p.element_size() for p in net.parameters())
    if size > MOST_BYTES:
        raise TensorpressError(
            f"the network holds {size:,} bytes of weights, and an ONNX graph in memory at most "
            f"{MOST_BYTES:,}: plan it with runtime='torch'."
        )
    chains = {name: plain_chain(chain) for name, chain in factorized_layers(net).items()}
    net = replace_layers(copy.deepcopy(net), dense_kernels(chains))
    with quiet():
        program = to_onnx(trace(net, feed.resized(2) if feed.batch == 1 else feed))
        return _without_wrapping(program.model_proto)


def dense_kernels(chains: Mapping[str, Sequence[nn.Module]]) -> dict[str, nn.Module]:
    """The one layer that each chain stands for, of those that stand for one."""
    ways = {name: executions_of(chain)[0] for name, chain in chains.items()}
    return {name: realise(chains[name], way)[0] for name, way in ways.items() if way.is_dense}


def read_graph(content: bytes) -> Any:
    """The ``onnx.ModelProto`` that was serialised."""
    return import_runtimes("onnx", ("onnx",))["onnx"].ModelProto.FromString(content)


def _scale_between(kernel: NDArray[Any], found: NDArray[Any]) -> NDArray[np.float64] | None:
    """What the rows of a kernel are multiplied with in another; None if it is another kernel."""
    if len(kernel) > 1 and _scale_between(kernel[:1], found[:1]) is None:
        return None  # seen at the first row
    kernel, found = (array.reshape(len(array), -1).astype(np.float64) for array in (kernel, found))
    squares = (kernel * kernel).sum(1)
    scale: NDArray[np.float64] = np.divide(
        (found * kernel).sum(1), squares, out=np.ones_like(squares), where=squares > 0
    )
    difference = np.linalg.norm(found - scale[:, None] * kernel)
    return scale if difference <= CLOSE * np.linalg.norm(found) else None


def _is_transposed(node: Any) -> bool:
    """Whether its weight is (in, out), not (out, in) as PyTorch's are."""
    if node.op_type == "Gemm":
        return not _attributes(node).get("transB", 0)
    return bool(node.op_type == "MatMul")


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
