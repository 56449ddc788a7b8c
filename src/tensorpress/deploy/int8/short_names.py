"""Short names for values in a quantised graph: half of a small file was names."""

import itertools
from typing import Any

from tensorpress.deploy.int8.bodies import bodies_of

INSERTED = ("QuantizeLinear", "DequantizeLinear")


def shorten_names(model: Any) -> None:
    """Name values by numbers, in place; nodes but for conversions, inputs and outputs keep theirs.

    Graphs with subgraphs, which may look at values from outside, stay as they are.

    Args:
        model: an ``onnx.ModelProto``.
    """
    graph = model.graph
    if any(True for node in graph.node for _ in bodies_of(node)):
        return
    kept = {"", *(value.name for value in (*graph.input, *graph.output))}
    known = {name: name for name in kept}
    values = [value.name for value in graph.initializer]
    values += [name for node in graph.node for name in node.output]
    free = filter(lambda short: short not in kept, map("v{}".format, itertools.count()))
    known |= {name: next(free) for name in dict.fromkeys(values) if name not in kept}
    for value in graph.initializer:
        value.name = known[value.name]
    for node in graph.node:
        node.input[:] = [known[name] for name in node.input]
        node.output[:] = [known[name] for name in node.output]
        if node.op_type in INSERTED:
            node.ClearField("name")
    del graph.value_info[:]
