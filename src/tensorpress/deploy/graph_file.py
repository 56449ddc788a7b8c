"""A network that was read from an ONNX file, written back to one."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensorpress.deploy.execution import Execution, factorized_layers
from tensorpress.deploy.formats.onnx import MOST_BYTES_OF_WEIGHTS
from tensorpress.deploy.runtimes.onnx_graph import OnnxGraph
from tensorpress.errors import TensorpressError
from tensorpress.extras import import_runtimes
from tensorpress.graphs import GraphNetwork
from tensorpress.graphs.marked import marked_graph
from tensorpress.graphs.nodes import MARK


def write_graph_file(
    net: GraphNetwork, path: Path, choice: Mapping[str, Execution] | None = None
) -> None:
    """Write the graph that a network was read from, with chains where its layers are factorized.

    All else of the graph stays as it was. Weights lie beside the file, in ``NAME.data``, where
    those of the graph did, or where they are over 1.9 GB.

    Args:
        choice: how layers are executed, by name; others as they are stored.
    """
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    read = net.structure.model
    graph = OnnxGraph(marked_graph(net), factorized_layers(net))
    stored = {name: Execution((1,) * len(chain)) for name, chain in graph.chains.items()}
    model, _ = graph.executed({**stored, **(choice or {})})
    for node in model.graph:
        node.metadata_props.pop(MARK, None)
    lay_apart = any(isinstance(tensor, onnx_ir.ExternalTensor) for tensor in _weights(read))
    apart = lay_apart or sum(tensor.nbytes for tensor in _weights(model)) > MOST_BYTES_OF_WEIGHTS
    onnx_ir.save(model, path, external_data=f"{path.name}.data" if apart else None)


def takes_alone(batch: int) -> str:
    """In words."""
    return f"the file takes {batch} at once and no other number"


def refuse_fixed_batch(net: GraphNetwork) -> None:
    """Refuse int8 of a graph that takes a fixed number at once.

    Raises:
        TensorpressError: it says how many.
    """
    if net.structure.batch is not None:
        raise TensorpressError(
            f"{takes_alone(net.structure.batch)}, and one in int8 leaves it free: export the "
            "network again with a free batch."
        )


def refuse_own_weights(net: GraphNetwork, path: Path) -> None:
    """Refuse a file whose weights would take the place of those that the graph still reads.

    Raises:
        TensorpressError: it names the file of weights.
    """
    onnx_ir = import_runtimes("onnx", ("onnx_ir",))["onnx_ir"]
    beside = path.with_name(f"{path.name}.data").resolve()
    for tensor in _weights(net.structure.model):
        if isinstance(tensor, onnx_ir.ExternalTensor) and Path(tensor.path).resolve() == beside:
            raise TensorpressError(
                f"{path}: the weights of what is read lie in {beside.name}, where those of this "
                "file would: give another name."
            )


def _weights(model: Any) -> Iterator[Any]:
    return (value.const_value for value in model.graph.initializers.values())
