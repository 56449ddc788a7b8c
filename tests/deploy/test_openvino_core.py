"""Networks in OpenVINO come and go, and signals are still handled."""

import subprocess
import sys
from pathlib import Path

import pytest
from nets import tiny

import tensorpress as tp

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
