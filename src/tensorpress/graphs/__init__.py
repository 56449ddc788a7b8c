"""Files of ONNX: read as networks, run in parts by ONNX Runtime, written back."""

from tensorpress.graphs.file import image_shape, is_graph_file
from tensorpress.graphs.network import GraphNetwork
from tensorpress.graphs.read import read_graph_network

__all__ = ["GraphNetwork", "image_shape", "is_graph_file", "read_graph_network"]
