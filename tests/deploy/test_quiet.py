"""What importing and exporting leave alone, seen in a fresh process."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import socket, sys, warnings

asked = []
socket.getaddrinfo = lambda *args, **kwargs: asked.append(args)
socket.socket.connect = lambda *args: asked.append(args)

import tensorpress as tp
heavy = {"onnx", "onnxscript", "onnxruntime", "openvino"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)

import torch
filters = list(warnings.filters)
net = torch.nn.Conv2d(3, 4, 3)
tp.export(net, "net.xml", torch.zeros(1, 3, 8, 8), progress=False)
tp.export(net, "net.onnx", torch.zeros(1, 3, 8, 8), progress=False)
assert "openvino_telemetry" not in sys.modules
assert not asked, asked
assert warnings.filters == filters
"""


def test_nothing_heavy_is_imported_nothing_is_printed_and_nobody_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"HOME": str(tmp_path), "CI": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {"net.bin", "net.onnx", "net.xml"} == {file.name for file in tmp_path.glob("[!.]*")}
