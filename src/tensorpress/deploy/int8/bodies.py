"""Graphs within graphs, such as the branches of an If, which read values from outside of them."""

from collections.abc import Iterator
from typing import Any


def bodies_of(node: Any) -> Iterator[Any]:
    """The graphs that an ``onnx.NodeProto`` holds."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def names_read(graph: Any) -> Iterator[str]:
    """The names that the nodes of an ``onnx.GraphProto`` read, once a reading, in bodies too."""
    for node in graph.node:
        yield from node.input
        for body in bodies_of(node):
            yield from names_read(body)
            yield from (value.name for value in body.output)
