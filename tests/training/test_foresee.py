"""How long a run will take is told once, by its first steps."""

import re
from pathlib import Path

import pytest
import torch
from tiny import tiny_data, tiny_net

from tensorpress.training import Ahead, Network, Place, Recipe, Settings, train
from tensorpress.training.foresee import Course, Forecast, StepClock

CPU = Place(torch.device("cpu"))
LONG = 10**12
"""Epochs that take over a minute on any machine."""
TOLD = re.compile(r"^about .* to train and evaluate: ", re.M)


def test_a_phase_is_counted_in_passes_of_an_image() -> None:
    data = tiny_data(train=96, test=40)
    phase = Ahead("finetune", Recipe(epochs=7), done=2)
    # A step there and back is worth five passes, and a teacher's one more.
    assert phase.seconds(0.5, data) == 5 * (5 * 96 + 40) * 0.5
    assert phase.seconds(0.5, data, world=2) == 5 * (5 * 48 + 40) * 0.5
    taught = Ahead("finetune", Recipe(epochs=7), taught=True)
    assert taught.seconds(0.5, data) == 7 * (6 * 96 + 40) * 0.5


def test_the_first_step_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = StepClock(CPU.device)
    ends = iter([100.0, 101.0, 104.0])
    monkeypatch.setattr("time.perf_counter", lambda: next(ends))
    assert [clock.tick() for _ in range(3)] == [False, False, True]
    assert clock.seconds == 2.0


@pytest.mark.parametrize(
    ("epochs", "show", "lines"), [(LONG, True, 1), (LONG, False, 0), (1, True, 0)]
)
def test_it_is_told_once_and_of_long_runs_alone(
    epochs: int, show: bool, lines: int, capfd: pytest.CaptureFixture[str]
) -> None:
    phases = [Ahead("baseline", Recipe(epochs)), Ahead("finetune", Recipe(epochs), taught=True)]
    forecast = Forecast(Course(phases, tiny_net), tiny_data(), CPU, show=show)
    for _ in range(40):
        forecast.on_step("baseline", 16, 0)
    found = TOLD.findall(capfd.readouterr().err)
    assert len(found) == lines


def test_a_run_tells_what_lies_ahead(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    network, recipe = Network("tiny", tiny_net), Recipe(3, batch_size=16)
    later = [Ahead("later", Recipe(LONG))]
    for name, quiet in (("a", False), ("b", True)):
        settings = Settings(device="cpu", quiet=quiet)
        train(tmp_path / name, network, tiny_data(), recipe, then=later, settings=settings)
        assert len(TOLD.findall(capfd.readouterr().err)) == (not quiet)


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    network, recipe = Network("tiny", tiny_net), Recipe(3, batch_size=16)
    settings = Settings(device="cpu", dry_run=True)
    outcome = train(tmp_path / "RUN", network, tiny_data(), recipe, settings=settings)
    assert outcome.prospect is not None
    assert list(outcome.prospect.seconds) == ["baseline"]
    assert outcome.prospect.seconds["baseline"] > 0
    assert list(tmp_path.iterdir()) == []
