"""Channels between the convolutions of a chain, brought to ranges that 8 bits serve best."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.int8.bodies import names_read
from tensorpress.deploy.int8.values import values_by_batch
from tensorpress.extras import import_runtimes

Array = np.ndarray[Any, Any]
BATCH = 32
SHARES = np.linspace(0.0, 1.0, 65)
"""How far below zero a range may reach, of how far it reaches above, that are tried."""
AXES_AS_INPUT = 18
"""The opset from which reductions take their axes as an input."""


@dataclass(frozen=True)
class Pair:
    """A convolution that feeds another one and nothing else, nothing being between them."""

    first: Any
    second: Any


def equalise(model: Any, calibration: Feed) -> None:
    """Scale, turn and shift the channels between convolutions, in place; the graph stays equal.

    A range of 8 bits serves all channels of a tensor. Between two convolutions each channel can be
    multiplied by any number, where the second one pads nothing also shifted: the first one's
    weights take it and the second one's take it back (cross-layer equalisation; Nagel et al.,
    *Data-free quantization through weight equalization and bias correction*, 2019). Here the scale
    is that by which rounding changes the second one's outputs least. Signs matter: of a channel
    from -1 to 0.2 and one from -0.2 to 1, one is turned.

    Args:
        model: an ``onnx.ModelProto`` in float32.
        calibration: what ranges are read off.
    """
    pairs = list(_pairs(model))
    if not pairs:
        return
    numpy_helper = import_runtimes("onnx", ("onnx.numpy_helper",))["onnx.numpy_helper"]
    held = {value.name: value for value in model.graph.initializer}
    ranges = _ranges(model, [pair.first.output[0] for pair in pairs], calibration)
    for pair in pairs:
        low, high = ranges[pair.first.output[0]]
        before, after = (numpy_helper.to_array(held[n.input[1]]) for n in (pair.first, pair.second))
        groups = _groups(pair.second)
        # (groups, out, in, places), of which `in` are the channels between
        inner = after.reshape(groups, len(after) // groups, after.shape[1], -1)
        gain = np.square(inner, dtype=np.float64).sum((1, 3)).reshape(-1)
        if not np.isfinite([low, high]).all():
            continue
        if _pads_nothing(pair.second):
            shift, scale = -(low + high) / 2, _inverse((high - low) / 2)
        else:
            shift, scale = np.zeros_like(low), scales(low.clip(max=0), high.clip(min=0), gain)
        taken = inner * (1 / scale).reshape(groups, 1, -1, 1)
        # The second one's sums over all its places: of a shift all of them see the same.
        constant = (inner.sum(3) * shift.reshape(groups, 1, -1)).sum(2).reshape(-1)
        ends = [1] * (before.ndim - 1)
        _set(model, held, pair.first, 1, before * scale.reshape(-1, *ends))
        _set(model, held, pair.first, 2, (_bias(held, pair.first, low) + shift) * scale)
        _set(model, held, pair.second, 1, taken.reshape(after.shape))
        _set(model, held, pair.second, 2, _bias(held, pair.second, constant) - constant)


def scales(low: Array, high: Array, gain: Array) -> Array:
    """What each channel is multiplied by, in one range for all, so that rounding costs least.

    A channel's rounding error is the step over its scale, and ``gain`` is what its square is
    multiplied by in the outputs.

    Args:
        low, high: the ends of the channels' ranges, zero within them; (channels,).
        gain: (channels,).
    """
    turned = -low > high
    below, above = np.where(turned, high, -low), np.where(turned, -low, high)
    best, least = np.ones_like(above), np.inf
    for share in SHARES:
        # A range from -share to 1.
        allowed = np.where(below > 0, share / np.where(below > 0, below, 1), np.inf)
        found = np.minimum(_inverse(above), allowed)
        if not (found > 0).all():
            continue
        lost = (1 + share) ** 2 * (gain / np.square(found)).sum()
        if lost < least:
            best, least = found, lost
    return np.where(turned, -best, best)


def _pairs(model: Any) -> Iterator[Pair]:
    """Whose weights and biases are theirs alone, and whose channels nothing else looks at."""
    graph = model.graph
    used = Counter(names_read(graph))
    used.update(value.name for value in graph.output)
    held = {value.name for value in graph.initializer}
    makers = {
        node.output[0]: node
        for node in graph.node
        if node.op_type == "Conv" and _is_own(node, used, held)
    }
    for node in makers.values():
        first = makers.get(node.input[0])
        if first is not None and used[node.input[0]] == 1:
            yield Pair(first, node)


def _is_own(node: Any, used: Counter[str], held: set[str]) -> bool:
    return all(name in held and used[name] == 1 for name in node.input[1:])


def _ranges(model: Any, names: list[str], rows: Feed) -> dict[str, tuple[Array, Array]]:
    """The smallest and the largest value of each channel, by the map's name."""
    onnx = import_runtimes("onnx", ("onnx",))["onnx"]
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    opset = max(one.version for one in model.opset_import if one.domain in ("", "ai.onnx"))
    kernels = {value.name: len(value.dims) for value in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    asked = []
    for name in names:
        axes = [n for n in range(kernels[makers[name].input[1]]) if n != 1]
        for kind in ("ReduceMin", "ReduceMax"):
            output = f"{name}/{kind}"
            inputs, options = [name], {"axes": axes}
            if opset >= AXES_AS_INPUT:
                inputs, options = [name, f"{output}/axes"], {}
                value = onnx.numpy_helper.from_array(np.array(axes, dtype=np.int64), inputs[1])
                watched.graph.initializer.append(value)
            node = onnx.helper.make_node(kind, inputs, [output], keepdims=0, **options)
            watched.graph.node.append(node)
            watched.graph.output.append(onnx.ValueInfoProto(name=output))
            asked.append(output)
    found: dict[str, tuple[Array, Array]] = {}
    for values in values_by_batch(watched, rows, BATCH):
        ends = [values[name].astype(np.float64) for name in asked]
        for name, low, high in zip(names, ends[::2], ends[1::2], strict=True):
            before = found.get(name, (low, high))
            found[name] = np.minimum(before[0], low), np.maximum(before[1], high)
    return found


def _inverse(size: Array) -> Array:
    """1 over the sizes; 1 of a channel that is always zero."""
    return 1 / np.where(size > 0, size, 1)


def _groups(node: Any) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)


def _pads_nothing(node: Any) -> bool:
    given = {attribute.name: attribute for attribute in node.attribute}
    pads_itself = "auto_pad" in given and given["auto_pad"].s not in (b"", b"NOTSET", b"VALID")
    return not pads_itself and ("pads" not in given or not any(given["pads"].ints))


def _bias(held: dict[str, Any], node: Any, like: Array) -> Array:
    numpy_helper = import_runtimes("onnx", ("onnx.numpy_helper",))["onnx.numpy_helper"]
    if len(node.input) < 3:
        return np.zeros_like(like)
    found: Array = numpy_helper.to_array(held[node.input[2]])
    return found


def _set(model: Any, held: dict[str, Any], node: Any, place: int, values: Array) -> None:
    """Another weight or bias of a node; a bias of zeros that it has not stays away."""
    numpy_helper = import_runtimes("onnx", ("onnx.numpy_helper",))["onnx.numpy_helper"]
    values = np.ascontiguousarray(values.astype(np.float32))
    if place < len(node.input):
        held[node.input[place]].CopyFrom(numpy_helper.from_array(values, node.input[place]))
    elif values.any():
        name = f"{node.output[0]}/bias"
        node.input.append(name)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
        held[name] = model.graph.initializer[-1]
