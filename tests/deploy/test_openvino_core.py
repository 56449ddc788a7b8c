"""Networks in OpenVINO come and go, and signals are still handled."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import tiny
from torch import nn

import tensorpress as tp
from tensorpress.deploy.runtimes import RUNTIMES, graph_runtime

SCRIPT = """
import gc, signal, subprocess, sys
from pathlib import Path
from tensorpress.deploy import FORMATS, RUNTIMES
from tensorpress.deploy.feed import read_feed
import torch

kind = FORMATS["openvino"]
signal.signal(signal.SIGCHLD, lambda *_: None)
first, second = kind.read(Path(sys.argv[1])), kind.read_by_itself(Path(sys.argv[1]))
RUNTIMES["openvino"].own_precision()
feed = read_feed(torch.zeros(1, 3, 12, 12), dynamic_batch=True)
print(len(first(feed)), len(second(feed)))
del first
gc.collect()
del second
gc.collect()
subprocess.run([sys.executable, "-c", ""], check=True)
print("alive")
"""


def test_signals_are_handled_after_networks_have_ended_in_their_order(tmp_path: Path) -> None:
    """The processor's plugin unmaps the stack for signals that the thread was left with."""
    pytest.importorskip("openvino")
    net, example = tiny()
    tp.export(net, tmp_path / "net.xml", example)
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "net.xml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "1 1\nalive\n"), done.stderr


@pytest.mark.usefixtures("measured_once")
def test_graphs_for_many_shapes_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("onnx")
    monkeypatch.setattr(graph_runtime, "MOST_LOADED", 3)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()).eval()
    plan = tp.plan(net, torch.randn(2, 3, 6, 6), runtime="openvino", precision="f32", cache=False)
    loaded = []
    kind: Any = type(RUNTIMES["openvino"])
    load = kind.load

    def counted(self: Any, model: Any, feed: Any, setting: Any) -> Any:
        loaded.append(len(feed.tensors[0]))
        return load(self, model, feed, setting)

    monkeypatch.setattr(kind, "load", counted)
    for batch in (2, 1, 3, 2, 4, 2, 3, 1):
        images = torch.randn(batch, 3, 6, 6)
        with torch.no_grad():
            torch.testing.assert_close(plan(images), net(images), rtol=1e-4, atol=1e-5)
    assert loaded == [1, 3, 4, 1]
