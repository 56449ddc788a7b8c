"""The file formats of an export: how each is written, and read back into its runtime."""

from tensorpress.deploy.formats.format import Format, Run
from tensorpress.deploy.formats.onnx import ONNX
from tensorpress.deploy.formats.openvino import OPENVINO
from tensorpress.deploy.formats.pt2 import PT2

FORMATS = {kind.name: kind for kind in (ONNX, PT2, OPENVINO)}

__all__ = ["FORMATS", "Format", "Run"]
