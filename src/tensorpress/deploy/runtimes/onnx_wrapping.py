"""Circular padding as slices put together: OpenVINO's reader of ONNX does not know it."""

from typing import Any

import numpy as np

from tensorpress.extras import import_runtimes

END = np.iinfo(np.int64).max


def without_wrapping(model: Any) -> None:
    """Write the circular paddings of an ``onnx_ir.Model`` in other nodes."""
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    for node in list(model.graph):
        pads = node.inputs[1].const_value if node.op_type == "Pad" else None
        if pads is None or node.attributes.get_string("mode") != "wrap":
            continue
        tape = onnx_ir.tape.Tape()
        value = node.inputs[0]
        for axis, (before, after) in enumerate(pads.numpy().reshape(2, -1).T.tolist()):
            parts = [value]
            if before:
                parts.insert(
                    0, _slice(tape, value, (-before, END, axis), f"{node.name}/{axis}/before")
                )
            if after:
                parts.append(_slice(tape, value, (0, after, axis), f"{node.name}/{axis}/after"))
            if len(parts) > 1:
                value = tape.op("Concat", parts, {"axis": axis}, name=f"{node.name}/{axis}")
                value.name = f"{node.name}/{axis}"
        for initializer in tape.initializers:
            model.graph.register_initializer(initializer)
        onnx_ir.convenience.replace_nodes_and_values(
            model.graph, node, [node], tape.nodes, node.outputs, [value]
        )


def _slice(tape: Any, value: Any, bounds: tuple[int, int, int], name: str) -> Any:
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    inputs = [
        tape.initializer(onnx_ir.tensor(np.array([bound]), name=f"{name}/{what}"))
        for what, bound in zip(("start", "end", "axis"), bounds, strict=True)
    ]
    made = tape.op("Slice", [value, *inputs], name=name)
    made.name = name
    return made
