import subprocess
import sys
from pathlib import Path

import size

from tensorpress.artifacts import read_manifest


def test_a_network_of_many_layers(tmp_path: Path) -> None:
    """300 here; ``make bench-bad-days`` takes up to 2000."""
    size.deep_seconds(300, tmp_path / "net.tp")
    assert len(read_manifest(tmp_path / "net.tp").layers) == 300


def test_a_large_kernel_takes_at_most_three_times_its_memory() -> None:
    """1024x1024x3x3 here; ``make bench-bad-days`` takes 2048 channels."""
    command = [sys.executable, size.__file__, "1024", "0.6"]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    assert 0.5 < float(answer.stdout) <= 3.0
