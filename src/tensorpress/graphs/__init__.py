"""Files of ONNX: read as networks, run in parts by ONNX Runtime, written back."""

from tensorpress.graphs.file import GRAPH, LAYOUTS, files_of, is_graph_file, read_sizes
from tensorpress.graphs.network import GraphNetwork
from tensorpress.graphs.read import read_graph_network

__all__ = [
    "GRAPH",
    "LAYOUTS",
    "GraphNetwork",
    "files_of",
    "is_graph_file",
    "read_graph_network",
    "read_sizes",
]
