"""How often something is timed, by a clock that the test moves."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.deploy.effort import ONCE, Effort, Rounds, effort, measuring_with


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.0, 3), (1.0, 3), (2.0, 4), (3.9, 7), (9.0, 10), (1e9, 10), (float("inf"), 10)],
)
def test_as_many_rounds_as_fit_by_the_second_call(
    seconds: float, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, taken = 0.0, iter((60.0, 0.5))

    def call() -> None:
        nonlocal now
        now += next(taken)

    monkeypatch.setattr("time.perf_counter", lambda: now)
    assert Rounds(seconds, 3, 10).of(call) == expected


def test_an_effort_is_in_force_within_its_block_alone() -> None:
    usual = effort()
    assert usual == Effort()
    with measuring_with(ONCE):
        assert effort() is ONCE
    assert effort() is usual


def test_a_plan_takes_what_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Rounds] = []

    def once(rounds: Rounds, _call: Callable[[], object]) -> int:
        asked.append(rounds)
        return 1

    monkeypatch.setattr(Rounds, "of", once)
    effort = Effort(Rounds(0.0, 1, 2), Rounds(0.0, 1, 3), Rounds(0.0, 1, 4))
    net = nn.Sequential(tp.factorize(nn.Conv2d(3, 4, 3), rank=tp.Ranks(2, 2, 2))).eval()
    with measuring_with(effort):
        tp.plan(net, torch.zeros(1, 3, 8, 8), threads=1, cache=False)
    assert set(asked) == {effort.network, effort.execution}
