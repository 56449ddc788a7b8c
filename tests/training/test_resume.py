import itertools
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny import run_alone, tiny_data, tiny_net, tiny_run

from tensorpress.data import Dataset, ImageFiles
from tensorpress.errors import TensorpressError
from tensorpress.training import Network, Recipe, Settings, train
from tensorpress.training.metrics import read_metrics
from tensorpress.training.run_folder import RunFolder
from tensorpress.training.step import TrainStep

PHASES = ["baseline", "finetune", "dense_control"]
EPOCHS = [(phase, epoch) for phase in PHASES for epoch in (1, 2, 3)]


class Crash(BaseException):
    """Stands for a process that ends between two writes."""


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run that nothing interrupted."""
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


@pytest.fixture
def saved_at_every_step(monkeypatch):
    """Settings of a run that keeps its state after each step, and stops after a given number."""
    record = RunFolder.record

    def settings(stop_after: int) -> Settings:
        left = itertools.count(stop_after, -1)

        def stopping(self, state):
            record(self, state)
            if next(left) <= 1:
                raise Crash

        monkeypatch.setattr(RunFolder, "record", stopping)
        return Settings(seed=3, device="cpu", quiet=True, checkpoint_minutes=1e-9)

    return settings


@pytest.mark.parametrize("stop_after", [4, 13])
def test_killed_within_epochs_it_ends_with_the_same_bits(
    stop_after, tmp_path, straight, saved_at_every_step
):
    seen = []
    for _ in range(100):
        try:
            tiny_run(tmp_path, settings=saved_at_every_step(stop_after))
            break
        except Crash:
            state = torch.load(tmp_path / "last.pt", weights_only=True)
            seen.append((state["phase"], state["epochs_done"], state["begun"]["step"]))
    # Of 6 steps an epoch, after the last of which the epoch is kept.
    assert seen[0] == ("baseline", *divmod(stop_after + stop_after // 6, 6))
    assert len({phase for phase, _, _ in seen}) > 1
    assert_same_end(tmp_path, straight)


@pytest.mark.parametrize("stop_after", [2, 5])
def test_killed_while_images_are_read_from_files_it_ends_with_the_same_bits(
    stop_after, tmp_path, saved_at_every_step
):
    data = in_files(tmp_path / "images")

    def run(folder: Path, settings: Settings) -> Path:
        network = Network("tiny", tiny_net)
        return train(folder, network, data, Recipe(2, batch_size=16), settings=settings).model_file

    wanted = run(tmp_path / "straight", Settings(seed=3, device="cpu", quiet=True)).read_bytes()
    for _ in range(20):
        try:
            found = run(tmp_path / "run", saved_at_every_step(stop_after)).read_bytes()
            break
        except Crash:
            continue
    assert found == wanted


def test_where_it_goes_on_within_an_epoch_is_said(tmp_path, saved_at_every_step, capsys):
    with pytest.raises(Crash):
        tiny_run(tmp_path, settings=saved_at_every_step(4))
    loud = Settings(seed=3, device="cpu")
    tiny_run(tmp_path, settings=loud)
    assert "baseline: going on after epoch 0 of 3 and step 4 of 6" in capsys.readouterr().out


def test_a_network_that_diverges_is_not_saved_over_the_last_state(
    tmp_path, saved_at_every_step, monkeypatch
):
    with pytest.raises(Crash):
        tiny_run(tmp_path, settings=saved_at_every_step(2))
    before = (tmp_path / "last.pt").read_bytes()
    monkeypatch.setattr(TrainStep, "__call__", diverging(TrainStep.__call__))
    with pytest.raises(TensorpressError, match="epoch 1, step 3 of 6"):
        tiny_run(tmp_path, settings=saved_at_every_step(99))
    assert (tmp_path / "last.pt").read_bytes() == before


def diverging(step):
    def diverge(self, inputs, labels, lr):
        step(self, inputs * float("nan"), labels, lr)

    return diverge


def in_files(folder: Path) -> Dataset:
    """The images of the tiny set as files."""
    folder.mkdir()
    data = tiny_data()
    for number, image in enumerate(data.train.images[:, 0].numpy()):
        Image.fromarray(image).save(folder / f"{number:03}.png")
    names = tuple(f"{number:03}.png" for number in range(len(data.train)))
    files = ImageFiles(folder, names, data.train.labels, (1, 8, 8), workers=0)
    return replace(data, train=files, crop_padding=0)


def test_minutes_are_above_zero():
    for minutes in (0.0, -1.0, float("nan")):
        with pytest.raises(TensorpressError, match=r"--checkpoint-minutes.: give more than 0"):
            Settings(checkpoint_minutes=minutes)


def test_a_finished_run_is_only_read(straight):
    before = {path: path.stat().st_mtime_ns for path in straight.iterdir() if path.name != ".lock"}
    outcome = tiny_run(straight)
    assert outcome.was_finished
    assert outcome.summary["network"] == "tiny"
    assert before == {path: path.stat().st_mtime_ns for path in before}
