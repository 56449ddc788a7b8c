import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import frozen_training

from tensorpress.training import Place

SCRIPT = str(Path(__file__).with_name("processes.py"))
LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
    *("--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
]


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    pytest.importorskip("accelerate")
    done = subprocess.run(
        [*LAUNCH, SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (printed,) = (json.loads(line) for line in done.stdout.splitlines() if line[0] == "{")

    losses, correct = frozen_training(Place(torch.device("cpu")), batch_size=32)
    assert printed["world"] == 2
    assert printed["losses"] == pytest.approx(losses, rel=1e-5)
    assert printed["correct"] == correct

    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 9
    assert json.loads((tmp_path / "summary.json").read_text())["processes"] == 2
