"""Put measured comparisons into docs/: python scripts/make_compare_page.py COMPARED...

Each argument is a folder of `tensorpress compare`. Their rows go to docs/compare.json, their tables
to docs/compare.md, between the marks of their network, and a plot for each network beside it.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

from marked_page import DOCS, put

from tensorpress.experiments.compare import ROWS
from tensorpress.experiments.comparison import Row
from tensorpress.experiments.comparison_page import comparison_table, plot_comparison


def main() -> None:
    rows: list[Row] = []
    for folder in map(Path, sys.argv[1:]):
        content = json.loads((folder / ROWS).read_text(encoding="utf-8"))
        rows += [_without_folders(Row(**row)) for row in content["rows"]]
    text = json.dumps([dataclasses.asdict(row) for row in rows], indent=1)
    (DOCS / ROWS).write_text(text + "\n", encoding="utf-8")
    for network in dict.fromkeys(row.network for row in rows):
        some = [row for row in rows if row.network == network]
        plot_comparison(some, DOCS / f"compare-{network}.png")
        put("compare.md", network, comparison_table(some))


def _without_folders(row: Row) -> Row:
    """Files on the machine of the run are named without their folders."""
    return dataclasses.replace(row, command=re.sub(r"[^\s='\"]*/", "", row.command))


if __name__ == "__main__":
    main()
