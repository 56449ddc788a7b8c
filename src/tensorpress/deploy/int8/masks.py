"""Values that no range of 8 bits can hold beside others: masks, as of attention, probabilities."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from tensorpress.extras import import_runtimes

LOWEST = -1e4
"""Where masks begin: they are -inf, the lowest float, or -10,000 in half precision."""
HANDED_ON = (
    *("Add", "Sub", "Mul", "Where", "Min", "Max", "Cast", "Concat", "Expand", "Identity"),
    *("Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Trilu", "Unsqueeze"),
)
"""Through which operations a mask reaches what it masks."""
ENDED_BY = ("Softmax", "LogSoftmax", "Exp", "Sigmoid")
"""What gives moderate values for masked ones."""


def ends_in_probabilities(model: Any) -> list[str]:
    """The names of nodes that make a graph's outputs of logits; those without a name get one.

    Of many classes most probabilities are less than a step of 8 bits.
    """
    given = {value.name for value in model.graph.output}
    found = []
    for number, node in enumerate(model.graph.node):
        if node.op_type in ENDED_BY and not given.isdisjoint(node.output):
            node.name = node.name or f"{node.op_type}_{number}"
            found.append(node.name)
    return found


def masked_nodes(model: Any) -> list[str]:
    """The names of nodes that take or give masked values; those without a name get one.

    One range serves all values of a tensor, and masked by -inf all others would be rounded to the
    same step.

    Args:
        model: an ``onnx.ModelProto`` in float32.
    """
    masked = {name for name, values in _constants(model) if _is_mask(values)}
    found = []
    for number, node in enumerate(model.graph.node):
        if node.op_type not in (*HANDED_ON, *ENDED_BY) or masked.isdisjoint(node.input):
            continue
        node.name = node.name or f"{node.op_type}_{number}"
        found.append(node.name)
        if node.op_type in HANDED_ON:
            masked.update(node.output)
    return found


def _constants(model: Any) -> Iterator[tuple[str, Any]]:
    numpy_helper = import_runtimes("onnx", ("onnx.numpy_helper",))["onnx.numpy_helper"]
    for value in model.graph.initializer:
        yield value.name, numpy_helper.to_array(value)
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type in ("Constant", "ConstantOfShape") and attribute.name == "value":
                yield node.output[0], numpy_helper.to_array(attribute.t)


def _is_mask(values: Any) -> bool:
    return values.dtype.kind == "f" and bool(np.any(values <= LOWEST))
