"""Values of a graph that do not depend on its inputs."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from tensorpress.extras import import_runtimes
from tensorpress.graphs.sessions import session_of

KEPT_APART = ("DequantizeLinear", "QuantizeLinear", "DynamicQuantizeLinear")
"""What makes numbers of quantised ones, which are to stay so."""
RANDOM = (
    *("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike"),
    *("Bernoulli", "Multinomial"),
)
OPTIONAL_INPUTS = 4


class Constants:
    """Which values are constant, and what they are.

    Args:
        model: an ``onnx_ir.Model``.

    Attributes:
        given: those that who calls the graph may give otherwise, by id.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        graph = model.graph
        self.known = set(map(id, graph.initializers.values()))
        # Before version 4 of the format all initializers had to be listed as inputs.
        listed = () if model.ir_version < OPTIONAL_INPUTS else graph.inputs
        self.given = self.known & set(map(id, listed))
        for node in graph:
            if self._is_constant(node):
                self.known.update(map(id, node.outputs))

    def __contains__(self, value: Any) -> bool:
        return value is None or id(value) in self.known

    def array(self, value: Any) -> npt.NDArray[Any] | None:
        """A constant; None of what is none, or is made of quantised numbers."""
        if value is None or value not in self:
            return None
        tensor = self.tensor(value)
        return self._computed(value) if tensor is None else np.asarray(tensor.numpy())

    def tensor(self, value: Any) -> Any:
        """The tensor of a constant that the file holds; None of one that it computes."""
        convenience = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"].convenience
        return convenience.get_const_tensor(value)

    def root(self, value: Any) -> Any:
        """The value that is handed on to this one as it is."""
        made = None if value is None else value.producer()
        while made is not None and made.op_type == "Identity" and made.domain in ("", "ai.onnx"):
            value = made.inputs[0]
            made = value.producer()
        return value

    def leaves(self, value: Any) -> Iterator[Any]:
        """The initializers and constants that a constant was made of; none of another value."""
        for read in _made_of(value) if value in self else ():
            made = read.producer()
            if made is None or not made.inputs:
                yield read

    def is_quantised(self, value: Any) -> bool:
        """Whether a constant is made of quantised numbers."""
        makers = (read.producer() for read in _made_of(value))
        return any(made is not None and made.op_type in KEPT_APART for made in makers)

    def _is_constant(self, node: Any) -> bool:
        if node.op_type == "Constant" and node.domain in ("", "ai.onnx"):
            return True
        plain = node.domain in ("", "ai.onnx") and node.op_type not in RANDOM
        plain = plain and not any(_is_graph(attribute) for attribute in node.attributes.values())
        return plain and bool(node.inputs) and all(value in self for value in node.inputs)

    def _computed(self, value: Any) -> npt.NDArray[Any] | None:
        if self.is_quantised(value):
            return None
        session = session_of(self.model, [], [value])
        return np.asarray(session.run(None, {})[0])


def _made_of(value: Any) -> Iterator[Any]:
    """A value and all that it was computed from, each once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        read = waiting.pop()
        if read is None or id(read) in seen:
            continue
        seen.add(id(read))
        yield read
        made = read.producer()
        waiting += [] if made is None else reversed(made.inputs)


def _is_graph(attribute: Any) -> bool:
    return "GRAPH" in attribute.type.name
