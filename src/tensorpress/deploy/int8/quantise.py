"""A graph quantised by ONNX Runtime's own tool, for all runtimes that read ONNX."""

import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.int8.equalise import equalise
from tensorpress.deploy.int8.masks import ends_in_probabilities, masked_nodes
from tensorpress.deploy.int8.rounding import round_by_outputs
from tensorpress.deploy.int8.short_names import shorten_names
from tensorpress.deploy.int8.values import inputs_by_batch
from tensorpress.deploy.quiet import quiet
from tensorpress.errors import TensorpressError
from tensorpress.extras import import_runtimes
from tensorpress.graphs.constants import KEPT_APART
from tensorpress.graphs.nodes import KINDS, QUANTISED

MODULES = ("onnxruntime.quantization",)
BATCH = 32
ALREADY = (*KEPT_APART, *QUANTISED)
OPSET = 13
"""The first with ranges a channel in QuantizeLinear and DequantizeLinear."""


def quantised(
    model: Any, calibration: Feed, *, finely: bool = True, in_float: Collection[str] = ()
) -> Any:
    """The graph with quantisation written into it as pairs of QuantizeLinear and DequantizeLinear.

    Values are unsigned and asymmetric, a range a tensor; weights symmetric, a range a channel, and
    of 7 bits: processors without VNNI sum products of 8 bits two by two in 16, which overflow.

    Args:
        model: an ``onnx.ModelProto`` in float32.
        calibration: what ranges are read off.
        finely: round weights by what that does to the layers' outputs, which takes time.
        in_float: names of nodes that stay in float32.

    Raises:
        TensorpressError: it is not installed, cannot quantise the graph, or finds nothing to.
    """
    tool = import_runtimes("onnx", MODULES)[MODULES[0]]

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self._left = inputs_by_batch(model, calibration, BATCH)

        def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
            return next(self._left, None)

    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    if any(node.op_type in ALREADY for node in model.graph.node):
        raise TensorpressError(
            "the network is in int8 already, in whole or in part, and would be rounded twice: give "
            "the file that it was made from, in float32, or leave int8 out."
        )
    try:
        with quiet(), tempfile.TemporaryDirectory() as folder:
            model = _by_channel(onnx.ModelProto.FromString(model.SerializeToString()))
            equalise(model, calibration)
            plain, path = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
            apart = {*_refused_by_the_tool(model), *masked_nodes(model)}
            apart.update(ends_in_probabilities(model))
            plain.write_bytes(model.SerializeToString())  # it writes into a graph in memory
            tool.quantize_static(
                plain,
                path,
                Reader(),
                quant_format=tool.QuantFormat.QDQ,
                activation_type=tool.QuantType.QUInt8,
                weight_type=tool.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_exclude=[*apart, *in_float],
            )
            made = onnx.load(path)
            del made.graph.value_info[:]  # shapes of all values, which runtimes infer
    except Exception as error:  # what it raises has no type of its own
        raise TensorpressError(
            f"onnxruntime.quantization cannot quantise the network ({first_cause(error)}); leave "
            "int8 out."
        ) from error
    if in_float and not int8_layers(made)[0]:
        raise TensorpressError(
            "no layer is left in int8 when all of keep_float= (--keep-float) stay in float32: name "
            "fewer, or leave int8 out."
        )
    if not int8_layers(made)[0]:
        raise TensorpressError(
            "the network has no layer that onnxruntime.quantization can quantise, which takes "
            f"{', '.join(KINDS)}; leave int8 out."
        )
    if finely:
        round_by_outputs(made, model, calibration)
        shorten_names(made)
    return made


def int8_layers(model: Any) -> tuple[int, int]:
    """How many layers of a graph have weights in int8, and how many have weights."""
    found = nodes_in_int8(model)
    return sum(found.values()), len(found)


def nodes_in_int8(model: Any) -> dict[str, bool]:
    """The nodes of a graph that have weights, by name, and whether these are in int8."""
    makers = {name: node for node in model.graph.node for name in node.output}
    held = {value.name for value in model.graph.initializer}
    found = {}
    for number, node in enumerate(model.graph.node):
        if node.op_type in KINDS:
            weight, in_int8 = node.input[1], False
            maker = makers.get(weight)
            if maker is not None and maker.op_type == "DequantizeLinear":
                weight, in_int8 = maker.input[0], True
            if weight in held:
                found[node.name or str(number)] = in_int8
    return found


def _by_channel(model: Any) -> Any:
    """The same graph, of an opset in which a weight may have a range a channel."""
    onnx = import_runtimes("onnx", ("onnx", "onnx.version_converter"))["onnx"]
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    if opset >= OPSET:
        return model
    return onnx.version_converter.convert_version(model, OPSET)


def _refused_by_the_tool(model: Any) -> list[str]:
    """Nodes that stay in float32, as the tool makes wrong biases of theirs or none.

    The bias of a Gemm may be multiplied by a number; and a transposed convolution in groups has
    ranges for the outputs of one group, and a bias for those of all.
    """
    found = []
    for number, node in enumerate(model.graph.node):
        given = {attribute.name: attribute for attribute in node.attribute}
        scaled = node.op_type == "Gemm" and "beta" in given and given["beta"].f != 1
        grouped = node.op_type == "ConvTranspose" and "group" in given and given["group"].i > 1
        if scaled or (grouped and len(node.input) > 2):
            node.name = node.name or f"{node.op_type}_{number}"
            found.append(node.name)
    return found
