"""Weights rounded so that what one rounding adds to a layer's outputs the next ones take back."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.int8.bodies import names_read
from tensorpress.deploy.int8.calibration import few
from tensorpress.deploy.int8.values import values_by_batch
from tensorpress.extras import import_runtimes

Shapes = dict[str, tuple[int, ...]]
ROWS, BATCH = 128, 16
WIDEST = 1152
"""Inputs of an output, of layers that are rounded so; the work grows with their cube."""
LARGEST = 64
"""Of a weight of 7 bits."""
DAMPING = 0.01


def round_by_outputs(made: Any, model: Any, calibration: Feed) -> None:
    """Round the weights of a quantised graph anew, in place, under what its layers are fed.

    Weight by weight, the error of one is spread over those that are not rounded yet so that the
    layer's outputs change least: optimal brain surgery, as in GPTQ (Frantar et al., 2022). Scales
    stay. What is left of it in the outputs' means the bias takes back, where there is one (bias
    correction; Nagel et al., 2019). Convolutions over one or two axes and linear layers of up to
    1,152 inputs an output are treated; others stay rounded to the nearest, and so do those whose
    moments overflow.

    Args:
        made: an ``onnx.ModelProto`` that was made of ``model``.
        model: in float32.
    """
    numpy_helper = import_runtimes("onnx", ("onnx.numpy_helper",))["onnx.numpy_helper"]
    shapes = {value.name: tuple(value.dims) for value in model.graph.initializer}
    layers = _layers(model, shapes)
    moments = _moments(model, layers, shapes, few(calibration, ROWS))
    plain = {value.name: value for value in model.graph.initializer}
    held = {value.name: value for value in made.graph.initializer}
    makers = {name: node for node in made.graph.node for name in node.output}
    nodes = {node.name: node for node in made.graph.node}
    used = Counter(names_read(made.graph))

    def read(maker: Any, place: int) -> Tensor:
        return torch.tensor(numpy_helper.to_array(held[maker.input[place]]))

    def write(maker: Any, steps: Tensor) -> None:
        name = maker.input[0]
        kind = numpy_helper.to_array(held[name]).dtype
        found = np.ascontiguousarray(steps.numpy().astype(kind))
        held[name].CopyFrom(numpy_helper.from_array(found, name))

    for name, moment in moments.items():
        node = nodes.get(layers[name][0].name)
        maker, bias = (_dequantised(node, place, makers) for place in (1, 2))
        if maker is None or maker.input[0] not in held or not moment.are_finite:
            continue
        weight = torch.tensor(numpy_helper.to_array(plain[name]))
        scale = read(maker, 1).reshape(-1)
        turned = _takes_inputs_first(layers[name][0])
        rows = (weight.T if turned else weight).flatten(1)
        if len(scale) not in (1, len(rows)):
            continue
        grouped = rows.reshape(len(moment.square), -1, rows.shape[1])
        scales = scale.expand(len(rows)).reshape(len(grouped), -1)
        steps = rounded(grouped, scales, moment.square)
        off = (grouped - steps * scales[:, :, None]) @ moment.mean[:, :, None]
        steps = steps.reshape(rows.shape)
        write(maker, (steps.T if turned else steps).reshape(weight.shape))
        if bias is not None and bias.input[0] in held and used[bias.output[0]] == 1:
            write(bias, (read(bias, 0) + off.reshape(-1) / read(bias, 1).double()).round())


def rounded(weight: Tensor, scale: Tensor, moment: Tensor) -> Tensor:
    """Whole numbers whose products with ``scale`` stand for ``weight``.

    Args:
        weight: (groups, out, in).
        scale: (groups, out).
        moment: (groups, in, in), the second moments of what the weights are multiplied with.
    """
    count = weight.shape[2]
    moment = moment.double()
    level = moment.diagonal(dim1=1, dim2=2).mean(1)
    level = torch.where(level > 0, level, torch.ones_like(level))
    moment = moment + DAMPING * level[:, None, None] * torch.eye(count, dtype=torch.float64)
    order = moment.diagonal(dim1=1, dim2=2).mean(0).argsort(descending=True)
    moment = moment[:, order][:, :, order]
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(moment))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left = weight.double()[:, :, order].clone()
    steps = torch.zeros_like(left)
    size = scale.double()
    for at in range(count):
        steps[:, :, at] = (left[:, :, at] / size).round().clamp(-LARGEST, LARGEST)
        error = (left[:, :, at] - steps[:, :, at] * size) / factor[:, None, at, at]
        left[:, :, at:] -= error[:, :, None] * factor[:, None, at, at:]
    return steps[:, :, order.argsort()]


@dataclass
class Moments:
    """Of what a weight is multiplied with.

    Attributes:
        square: (groups, in, in), summed up over ``count`` of it.
        total: (groups, in), likewise.
    """

    square: Tensor
    total: Tensor
    count: int

    @classmethod
    def of(cls, patches: Tensor) -> "Moments":
        """Of (groups, count, in)."""
        return cls(patches.transpose(1, 2) @ patches, patches.sum(1), patches.shape[1])

    def with_more(self, other: "Moments") -> "Moments":
        counts = self.count + other.count
        return Moments(self.square + other.square, self.total + other.total, counts)

    @property
    def are_finite(self) -> bool:
        return bool(self.square.isfinite().all() and self.total.isfinite().all())

    @property
    def mean(self) -> Tensor:
        """(groups, in), float64."""
        return self.total.double() / self.count


def _dequantised(node: Any, place: int, makers: dict[str, Any]) -> Any:
    """What gives an input of a node its values out of int8, or None."""
    if node is None or place >= len(node.input):
        return None
    maker = makers.get(node.input[place])
    return maker if maker is not None and maker.op_type == "DequantizeLinear" else None


def _layers(model: Any, shapes: Shapes) -> dict[str, list[Any]]:
    """The nodes that are treated, by the name of their weight."""
    found: dict[str, list[Any]] = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm") and node.input[1] in shapes and _is_plain(node):
            shape = shapes[node.input[1]]
            inputs = shape[0] if _takes_inputs_first(node) else int(np.prod(shape[1:]))
            if len(shape) <= 4 and inputs <= WIDEST:
                found.setdefault(node.input[1], []).append(node)
    return found


def _moments(
    model: Any, layers: dict[str, list[Any]], shapes: Shapes, rows: Feed
) -> dict[str, Moments]:
    """Of what each weight is multiplied with."""
    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    known = {value.name for value in [*model.graph.input, *model.graph.output]}
    fed = {node.input[0] for nodes in layers.values() for node in nodes}
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(fed - known))
    sums: dict[str, Moments] = {}
    for values in values_by_batch(watched, rows, BATCH):
        for name, nodes in layers.items():
            for node in nodes:
                value = torch.from_numpy(values[node.input[0]])
                patches = _patches(value, node, list(shapes[name][2:]))
                moments = Moments.of(patches)
                sums[name] = sums[name].with_more(moments) if name in sums else moments
    return sums


def _is_plain(node: Any) -> bool:
    """Whether it pads as it says, and multiplies its input as it is."""
    given = {attribute.name: attribute for attribute in node.attribute}
    pads_itself = "auto_pad" in given and given["auto_pad"].s not in (b"", b"NOTSET")
    turned = "transA" in given and given["transA"].i
    scaled = any(name in given and given[name].f != 1 for name in ("alpha", "beta"))
    return not (pads_itself or turned or scaled)


def _patches(fed: Tensor, node: Any, kernel: list[int]) -> Tensor:
    """What a node's weights of so many places are multiplied with, (groups, products, in)."""
    if node.op_type == "Gemm":
        return fed[None]
    options = {attribute.name: attribute for attribute in node.attribute}

    def numbers(name: str, default: int) -> list[int]:
        given = options.get(name)
        return list(given.ints) if given is not None else [default] * (fed.dim() - 2)

    strides, dilations = numbers("strides", 1), numbers("dilations", 1)
    pads = list(options["pads"].ints) if "pads" in options else [0] * 2 * len(kernel)
    groups = options["group"].i if "group" in options else 1
    if len(kernel) == 1:
        fed = fed[:, :, None]
        kernel, strides, dilations = ([1, *each] for each in (kernel, strides, dilations))
        pads = [0, pads[0], 0, pads[1]]
    top, left, bottom, right = pads
    columns = F.unfold(
        F.pad(fed, (left, right, top, bottom)),
        tuple(kernel),
        dilation=tuple(dilations),
        stride=tuple(strides),
    )
    images, width, places = columns.shape
    columns = columns.reshape(images, groups, width // groups, places)
    return columns.permute(1, 0, 3, 2).reshape(groups, images * places, width // groups)


def _takes_inputs_first(node: Any) -> bool:
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    return node.op_type == "Gemm" and not transposed
