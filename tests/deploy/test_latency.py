"""Times that hold, and those that do not."""

import pytest

from tensorpress.deploy import latency
from tensorpress.deploy.latency import Spread, holds, settled_spreads
from tensorpress.deploy.planning.table import PlanTable


def test_a_spread() -> None:
    assert Spread.of([4.0, 1.0, 3.0, 2.0, 5.0]) == Spread(3.0, 2.0, 4.0, 1.0)
    assert Spread.of([2.0]) == Spread(2.0, 2.0, 2.0, 2.0)


@pytest.mark.parametrize(("median", "best", "expected"), [(2.0, 1.9, True), (9.0, 2.4, False)])
def test_a_ratio_holds_where_the_fastest_calls_tell_the_same(
    median: float, best: float, expected: bool
) -> None:
    assert holds(median, best) is holds(best, median) is expected


def test_it_is_measured_again_until_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    steady, busy = [1.0, 1.0, 1.0], [2.0, 8.0, 8.0]
    tries = [[busy, steady], [[2.0, 2.0, 2.1], steady], [busy, busy]]
    monkeypatch.setattr(latency, "interleaved_times", lambda *_: tries.pop(0))
    first, second = settled_spreads([], 3)
    assert first.median / second.median == 2.0
    assert len(tries) == 1


def test_it_is_not_measured_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []

    def times(*_: object) -> list[list[float]]:
        done.append(1)
        return [[2.0, 8.0, 8.0], [1.0, 1.0, 1.0]]

    monkeypatch.setattr(latency, "interleaved_times", times)
    assert settled_spreads([], 3)[0].median == 8.0
    assert len(done) == latency.TRIES


def test_a_table_says_what_is_uncertain() -> None:
    setting = {"runtime": "torch", "version": "2", "threads": 1, "precision": "f32", "batch": 1}
    whole = {"plan": 0.8e-3, "dense": 7.2e-3, "chain": 1e-3}
    best = {"plan": 0.8e-3, "dense": 1.9e-3, "chain": 1e-3}
    doubtful = PlanTable((), whole, setting, best)
    assert "9.00x the speed (UNCERTAIN: 2.38x in the fastest calls)" in str(doubtful)
    assert "UNCERTAIN" not in str(PlanTable((), whole, setting, whole))
    assert PlanTable.from_dict(doubtful.to_dict()) == doubtful
