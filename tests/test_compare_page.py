"""The page of comparisons shows the rows of the JSON list beside it."""

import json
from pathlib import Path

import pytest

from tensorpress.choices import COMPARED
from tensorpress.experiments.comparison import Row
from tensorpress.experiments.comparison_page import comparison_table

DOCS = Path(__file__).parents[1] / "docs"
ROWS = [Row(**row) for row in json.loads((DOCS / "compare.json").read_text(encoding="utf-8"))]


@pytest.mark.parametrize("network", ["resnet20", "resnet56"])
def test_the_page_shows_every_row(network: str) -> None:
    rows = [row for row in ROWS if row.network == network]
    assert comparison_table(rows) in (DOCS / "compare.md").read_text(encoding="utf-8")
    assert (DOCS / f"compare-{network}.png").stat().st_size > 10_000
    measured = {(row.method, row.budget) for row in rows}
    methods = {row.method for row in rows}
    assert measured == {(method, budget) for method in methods for budget in (2.0, 4.0, 6.0)}
    assert len(methods) == 15
    assert methods < set(COMPARED)


def test_rows_of_a_budget_are_equal_in_macs_and_alike_in_everything_else() -> None:
    for row in ROWS:
        assert row.fcr is not None
        assert row.budget <= row.fcr < 1.04 * row.budget
        alike = next(r for r in ROWS if r.network == row.network)
        for name in ("data", "epochs", "seed", "images", "acc_baseline"):
            assert getattr(row, name) == getattr(alike, name), (row.method, name)
        assert not any("/" in word for word in row.command.split())
