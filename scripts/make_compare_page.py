"""Put measured comparisons into docs/: python scripts/make_compare_page.py COMPARED...

Each argument is a folder of `tensorpress compare`. Their rows go to docs/compare.json, their tables
to docs/compare.md, between the marks of their network, and a plot for each network beside it.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

from tensorpress.experiments.comparison import ROWS, Row
from tensorpress.experiments.comparison_page import comparison_table, plot_comparison

DOCS = Path(__file__).parents[1] / "docs"


def main() -> None:
    rows: list[Row] = []
    for folder in map(Path, sys.argv[1:]):
        content = json.loads((folder / ROWS).read_text(encoding="utf-8"))
        rows += [_without_folders(Row(**row)) for row in content["rows"]]
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
    page = (DOCS / "compare.md").read_text(encoding="utf-8")
    for network in dict.fromkeys(row.network for row in rows):
        some = [row for row in rows if row.network == network]
        plot_comparison(some, DOCS / f"compare-{network}.png")
        before, mark, rest = page.partition(f"<!-- {network} -->\n")
        _, end, after = rest.partition(f"<!-- end of {network} -->")
        assert end, f"docs/compare.md has no place for {network}"
        page = before + mark + comparison_table(some) + end + after
    (DOCS / ROWS).write_text(text + "\n", encoding="utf-8")
    (DOCS / "compare.md").write_text(page, encoding="utf-8")


def _without_folders(row: Row) -> Row:
    """Files on the machine of the run are named without their folders."""
    return dataclasses.replace(row, command=re.sub(r"[^\s='\"]*/", "", row.command))


if __name__ == "__main__":
    main()
