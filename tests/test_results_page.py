"""The page of measured results shows the rows of the JSON list beside it."""

import json
from pathlib import Path

from tensorpress.experiments import markdown, read_results

DOCS = Path(__file__).parents[1] / "docs"
KEYS = {
    "network", "data", "method", "pcr", "fcr", "acc_baseline", "acc", "dacc", "images", "stderr",
    "epochs", "seed", "command", "machine",
}  # fmt: skip


def test_the_page_shows_every_row() -> None:
    rows = read_results(DOCS / "results.json")
    assert rows
    assert markdown(rows) in (DOCS / "results.md").read_text(encoding="utf-8")


def test_rows_have_the_keys_that_others_read() -> None:
    rows = json.loads((DOCS / "results.json").read_text(encoding="utf-8"))
    assert all(set(row) >= KEYS for row in rows)
