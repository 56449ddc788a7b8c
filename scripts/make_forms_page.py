"""Put measured forms into docs/: python scripts/make_forms_page.py OUT...

Each argument is a folder of `make bench-forms`. Their rows go to docs/forms.json, the tables to
docs/compare.md, between the marks of forms, and a plot of each network beside it.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from marked_page import DOCS, put

from tensorpress.charts import Chart, Level, Line, round_axis, write_png
from tensorpress.layers.methods import AUTO

FORMS = "forms.json"
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of make bench-forms")
    rows = [
        row
        for folder in parser.parse_args().folders
        for row in json.loads((folder / FORMS).read_text(encoding="utf-8"))
        if "network" in row
    ]
    (DOCS / FORMS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    put("compare.md", "forms", section(rows))
    for (network, data), some in by_network(rows).items():
        plot(some, DOCS / f"forms-{network}-{data}.png")


def by_network(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["network"], row["data"]), []).append(row)
    return found


def section(rows: Sequence[Row]) -> str:
    """The tables of all networks, in Markdown."""
    return "".join(
        line
        for (network, data), some in by_network(rows).items()
        for line in table(network, data, some)
    )


def table(network: str, data: str, rows: Sequence[Row]) -> Iterator[str]:
    """Accuracies of a network by form and budget, then what rows beside those came to."""
    closed = [row for row in rows if not row["distil_epochs"] and row["calibration_images"]]
    base = closed[0]["acc_baseline"]
    yield f"\n**{network} on {data}**, dense {base:.2f} %. Accuracy (PCR / FCR):\n\n"
    yield from accuracies(closed)
    yield f"\n![Accuracy of each form against FCR](forms-{network}-{data}.png)\n"
    yield from times(closed)
    plain = [row for row in rows if not row["calibration_images"]]
    if plain:
        yield "\nFrom kernels alone, without images:\n\n"
        yield from accuracies(plain)
    others = [row for row in rows if row["distil_epochs"] and "acc" in row]
    if others:
        yield "\n| form | images | distilled, epochs | PCR / FCR | accuracy | to the baseline |\n"
        yield "|---|---|---|---|---|---|\n"
    for row in others:
        yield (
            f"| `{row['method']}` | {row['calibration_images']:,} | {row['distil_epochs']} | "
            f"{row['pcr']:.2f} / {row['fcr']:.2f} | {row['acc']:.2f} ± {row['stderr']:.2f} % | "
            f"{row['dacc']:+.2f} |\n"
        )


def accuracies(rows: Sequence[Row]) -> Iterator[str]:
    """A line for each form, a column for each budget."""
    budgets = sorted({row["budget"] for row in rows}, key=first_ratio)
    yield f"| form | {' | '.join(budgets)} |\n|{'---|' * (1 + len(budgets))}\n"
    best = {b: max(r["acc"] for r in rows if r["budget"] == b and "acc" in r) for b in budgets}
    for method in dict.fromkeys(row["method"] for row in rows):
        name = f"**`{method}`**" if method == AUTO else f"`{method}`"
        cells = [cell(of(rows, method, budget), best[budget]) for budget in budgets]
        yield f"| {name} | {' | '.join(cells)} |\n"


def times(rows: Sequence[Row]) -> Iterator[str]:
    """Milliseconds as planned, and how many times as fast as the dense network beside it."""
    timed = [row for row in rows if "milliseconds" in row]
    if not timed:
        return
    labels = list(dict.fromkeys(label for row in timed for label in row["milliseconds"]))
    yield f"\n| ms (times as fast) | {' | '.join(labels)} |\n|{'---|' * (1 + len(labels))}\n"
    for row in timed:
        cells = []
        for label in labels:
            taken, dense = row["milliseconds"].get(label, (None, None))
            cells.append(f"{taken:.2f} ({dense / taken:.2f})" if taken else "")
        yield f"| `{row['method']}`, {row['budget']} | {' | '.join(cells)} |\n"


def of(rows: Sequence[Row], method: str, budget: str) -> Row | None:
    return next((r for r in rows if (r["method"], r["budget"]) == (method, budget)), None)


def cell(row: Row | None, best: float) -> str:
    """Bold where it is the best or within its standard error of it."""
    if row is None or "acc" not in row:
        return "" if row is None else "not reached"
    text = f"{row['acc']:.2f} ({row['pcr']:.2f} / {row['fcr']:.2f})"
    return f"**{text}**" if row["acc"] >= best - row["stderr"] else text


def first_ratio(budget: str) -> float:
    return float(budget.split(":")[0])


def plot(rows: Sequence[Row], path: Path) -> None:
    done = sorted(
        (r for r in rows if "acc" in r and not r["distil_epochs"]), key=lambda r: r["fcr"]
    )
    done = [row for row in done if row["calibration_images"]]
    lines = [
        Line([(r["fcr"], r["acc"]) for r in done if r["method"] == method], method, number)
        for number, method in enumerate(dict.fromkeys(row["method"] for row in done))
    ]
    base = done[0]["acc_baseline"]
    places = [row["fcr"] for row in done]
    heights = [row["acc"] for row in done] + [base]
    chart = Chart(
        "accuracy in closed form against FCR",
        round_axis(min(places), max(places), "FCR"),
        round_axis(min(heights), max(heights), "accuracy, %"),
        lines,
        levels=[Level(base, "dense")],
    )
    write_png(path, [chart])


if __name__ == "__main__":
    main()
