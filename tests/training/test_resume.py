import itertools
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from tiny import run_alone, tiny_run

from tensorpress.training.metrics import read_metrics

PHASES = ["baseline", "finetune", "dense_control"]
EPOCHS = [(phase, epoch) for phase in PHASES for epoch in (1, 2, 3)]


class Crash(BaseException):
    """Stands for a process that ends between two writes."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
    import torch

    torch.set_num_threads(1)
    return tiny_run(tmp_path_factory.mktemp("straight")).folder


def assert_same_end(folder: Path, straight: Path) -> None:
    for name in ("model.tp", "compressed.tp", "summary.json"):
        assert (folder / name).read_bytes() == (straight / name).read_bytes(), name
    lines = read_metrics(folder / "metrics.jsonl")
    assert [(line["phase"], line["epoch"]) for line in lines] == EPOCHS
    timeless = [
        [{k: v for k, v in line.items() if k != "seconds"} for line in read_metrics(at)]
        for at in (folder / "metrics.jsonl", straight / "metrics.jsonl")
    ]
    assert timeless[0] == timeless[1]
    assert not [
        path for path in folder.iterdir() if path.name.startswith(".") and path.name != ".lock"
    ]


def test_killed_again_and_again_it_ends_with_the_same_bits(tmp_path, straight):
    for lines_to_see in (2, 5):
        process = started(tmp_path)
        while process.is_alive() and len(read_metrics(tmp_path / "metrics.jsonl")) < lines_to_see:
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not (tmp_path / "summary.json").exists()
    process = started(tmp_path)
    process.join()
    assert process.exitcode == 0
    assert_same_end(tmp_path, straight)


def started(folder: Path):
    """The run in a process of its own, forked from one that has imported what takes seconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tensorpress.training"])
    process = context.Process(target=run_alone, args=[folder])
    process.start()
    return process


def test_ended_around_every_write_it_ends_with_the_same_bits(tmp_path, straight, monkeypatch):
    replace = os.replace
    for attempt in range(100):
        monkeypatch.setattr(
            os, "replace", crashing(replace, 1 + attempt % 3, before=attempt % 2 == 0)
        )
        try:
            tiny_run(tmp_path)
            break
        except Crash:
            continue
    assert_same_end(tmp_path, straight)


def crashing(replace, nth: int, *, before: bool):
    """`os.replace` that ends the process at its ``nth`` call, before or after it works."""
    calls = itertools.count(1)

    def crash(source, target):
        last = next(calls) == nth
        if last and before:
            raise Crash
        replace(source, target)
        if last:
            raise Crash

    return crash


def test_a_finished_run_is_only_read(straight):
    before = {path: path.stat().st_mtime_ns for path in straight.iterdir() if path.name != ".lock"}
    outcome = tiny_run(straight)
    assert outcome.was_finished
    assert outcome.summary["network"] == "tiny"
    assert before == {path: path.stat().st_mtime_ns for path in before}
