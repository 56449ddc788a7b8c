import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT, THREADS = (str(Path(__file__).with_name(name)) for name in ("processes.py", "threads.py"))
LAUNCH = [
    *(sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"),
    *("--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"),
    *("--mixed_precision", "no", "--dynamo_backend", "no"),
]


def test_two_processes_equal_one_with_the_doubled_batch(tmp_path):
    pytest.importorskip("accelerate")
    two = printed_by(*LAUNCH, SCRIPT, str(tmp_path / "two"))
    one = printed_by(sys.executable, SCRIPT, str(tmp_path / "one"))
    assert (two["processes"], one["processes"]) == (2, 1)
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    assert two["correct"] == one["correct"]

    for name, processes in (("two", 2), ("one", 1)):
        assert len((tmp_path / name / "metrics.jsonl").read_text().splitlines()) == 9
        summary = json.loads((tmp_path / name / "summary.json").read_text())
        assert summary["processes"] == processes


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are read off Linux")
def test_no_thread_of_the_communication_is_left_at_the_end():
    """One that asks for the interpreter while it ends aborts the process, now and then."""
    pytest.importorskip("accelerate")
    assert printed_by(*LAUNCH, THREADS) == {"gloo": []}


def printed_by(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (printed,) = (json.loads(line) for line in done.stdout.splitlines() if line[0] == "{")
    return dict(printed)
