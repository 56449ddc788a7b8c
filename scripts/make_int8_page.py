"""Put measured networks in int8 into docs/: python scripts/make_int8_page.py OUT...

Each argument is a folder of `make bench-int8`. Their rows go to docs/int8.json, in the place of
those of the same networks on the same machine, the tables to docs/int8.md, between its marks, and
a plot of each network with accuracies beside it; that of one, smaller, is the README's picture.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from marked_page import DOCS, put

from tensorpress.charts import Chart, Level, Line, round_axis, write_png

ROWS = "int8.json"
Row = dict[str, Any]
NOISE = 1.05
FRONT = ("resnet56", "cifar10", "128-1")
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="*", help="of make bench-int8")
    rows = json.loads((DOCS / ROWS).read_text(encoding="utf-8"))
    for folder in parser.parse_args().folders:
        new = json.loads((folder / ROWS).read_text(encoding="utf-8"))
        replaced = by_network(new)
        rows = [row for row in rows if not by_network([row]).keys() & replaced.keys()] + new
    (DOCS / ROWS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = ""
    for (network, data, where), some in by_network(rows).items():
        text += "".join(section(network, data, where, some))
        if any("acc" in row for row in some) and charts(some):
            picture = f"int8-{network}-{data}{'-vnni' if 'VNNI' in where else ''}.png"
            text += f"\n![Accuracy against measured speed]({picture})\n"
            write_png(DOCS / picture, charts(some), columns=2)
    put("int8.md", "measured", text)
    write_png(DOCS / "front.png", charts(front(rows)), columns=2, size=(9.0, 3.8))


def front(rows: Sequence[Row]) -> list[Row]:
    """Of the README's picture: one network, one batch size, the runtimes that compute in int8."""
    network, data, key = FRONT
    return [
        {**row, "milliseconds": {key: row["milliseconds"][key]}}
        for row in rows
        if (row["network"], row["data"]) == (network, data)
        and key in row["milliseconds"]
        and row["runtime"] != "torch"
    ]


def by_network(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Rows by network, data and machine."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["network"], row["data"], row["machine"]), []).append(row)
    return found


def section(network: str, data: str, where: str, rows: Sequence[Row]) -> Iterator[str]:
    """A line for each network and precision, in Markdown: accuracies, bytes, times."""
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    choices = [row for row in rows if "chosen" in row]
    rows = [row for row in rows if "chosen" not in row]
    settings = list(dict.fromkeys(key for row in rows for key in row["milliseconds"]))
    scored = any("acc" in row for row in rows)
    yield f"\n**{network}**" + (f" on {data}" if scored else ", random weights") + f". {where}\n\n"
    head = ["network", "precision"]
    head += [f"{NAMES[one]}, %" for one in runtimes] if scored else []
    head += ["bytes"] if scored else []
    measured = {(row["runtime"], key) for row in rows for key in row["milliseconds"]}
    timed = [(one, key) for key in settings for one in runtimes if (one, key) in measured]
    head += [f"{NAMES[one]}, {told(key)}" for one, key in timed]
    yield f"| {' | '.join(head)} |\n|{'---|' * 2}{'---:|' * (len(head) - 2)}\n"
    for name in dict.fromkeys(row["name"] for row in rows):
        for precision in ("auto", "int8"):
            some = {
                r["runtime"]: r for r in rows if (r["name"], r["precision"]) == (name, precision)
            }
            if not some:
                continue
            cells = [f"`{name}`", "own" if precision == "auto" else precision]
            if scored:
                cells += [accuracy(some.get(one)) for one in runtimes]
                cells.append(size(some.get("onnxruntime")))
            cells += [speed(some.get(one), key) for one, key in timed]
            yield f"| {' | '.join(cells)} |\n"
    for number, row in enumerate(choices):
        if not number:
            yield "\n| asked of a budget over both precisions | taken | accuracy, % | in front |\n"
            yield "|---|---|---:|---|\n"
        yield choice(row, rows)


def choice(row: Row, others: Sequence[Row]) -> str:
    """A line for what a budget took, and whether another row beats it by more than noise."""
    asked = f"{row['name'].rsplit('-', 1)[1]}x in {NAMES[row['runtime']]}, batch {row['batch']}"
    taken = row["chosen"][0]
    if not row["milliseconds"]:
        return f"| {asked} | nothing: {taken} | - | - |\n"
    key = next(iter(row["milliseconds"]))
    rivals = [r for r in others if r["runtime"] == row["runtime"] and key in r["milliseconds"]]
    # What it takes may be a row of its own already, which was measured beside the others.
    twins = {"int8 everywhere, nothing decomposed": ("dense", "int8")}
    twin = twins.get(taken.split(":")[0])
    same = next((r for r in rivals if (r["name"], r["precision"]) == twin), row)
    better = [r for r in rivals if r is not same and beats(r, same, key)]
    named = (f"`{r['name']}` {'int8' if r['precision'] == 'int8' else 'own'}" for r in better)
    told = "yes" if not better else f"behind {', '.join(named)}"
    return f"| {asked} | {taken} | {accuracy(row)} | {told} |\n"


def beats(one: Row, other: Row, key: str) -> bool:
    """Whether a row is faster by a twentieth and not less accurate, or more accurate beyond its
    standard error and not slower by a twentieth."""
    speeds = [speedup(row["milliseconds"][key]) for row in (one, other)]
    faster = speeds[0] / speeds[1]
    if "acc" not in one:
        return faster > NOISE
    # Of networks that agree on nearly all images a difference has half the error of one.
    more, noise = one["acc"] - other["acc"], max(one["stderr"], other["stderr"])
    return (faster > NOISE and more >= 0) or (faster > 1 / NOISE and more > noise)


def told(key: str) -> str:
    batch, threads = key.split("-")
    return f"batch {batch}" + ("" if threads == "1" else f", {threads} threads")


def accuracy(row: Row | None) -> str:
    return f"{row['acc']:.2f} ± {row['stderr']:.2f}" if row and "acc" in row else "-"


def size(row: Row | None) -> str:
    return f"{row['bytes']:,}" if row and "bytes" in row else "-"


def speed(row: Row | None, key: str) -> str:
    """Milliseconds, and how many times as fast as the dense network beside it."""
    found = row and row["milliseconds"].get(key)
    if not found:
        return "-"
    doubt = "" if found["certain"] else "?"
    return f"{found['planned']:.1f} ms, {speedup(found):.2f}x{doubt}"


def speedup(found: dict[str, float]) -> float:
    return found["dense"] / found["planned"]


def charts(rows: Sequence[Row]) -> list[Chart]:
    """Accuracy against speed, one for each runtime and setting; lines are ways to get there."""
    found = []
    for key in dict.fromkeys(key for row in rows for key in row["milliseconds"]):
        for runtime in dict.fromkeys(row["runtime"] for row in rows):
            some = [
                r
                for r in rows
                if r["runtime"] == runtime and key in r["milliseconds"] and "chosen" not in r
            ]
            if any("acc" in row for row in some):
                found.append(chart(some, f"{NAMES[runtime]}, {told(key)}", key))
    return found


def chart(rows: Sequence[Row], title: str, key: str) -> Chart:
    ways = list(dict.fromkeys(way(row["name"]) for row in rows))
    base = max(row["acc"] for row in rows if (row["name"], row["precision"]) == ("dense", "auto"))
    lines = []
    for number, name in enumerate(ways):
        for at, precision in enumerate(("auto", "int8")):
            points = sorted(
                (
                    row["milliseconds"][key]["dense"] / row["milliseconds"][key]["planned"],
                    row["acc"],
                )
                for row in rows
                if (way(row["name"]), row["precision"]) == (name, precision)
            )
            if points:
                label = f"{name}, int8" if precision == "int8" else name
                lines.append(Line(points, label, 2 * number + at, dashes=at))
    speeds = [x for line in lines for x, _ in line.points]
    heights = [y for line in lines for _, y in line.points]
    return Chart(
        f"accuracy against speed in {title}",
        round_axis(min(speeds), max(speeds), "times as fast as dense, measured"),
        round_axis(min(heights), max([*heights, base]), "accuracy, %"),
        lines,
        levels=[Level(base, "dense")],
        title=title,
    )


def way(name: str) -> str:
    """ "auto" of auto-4."""
    return name.rsplit("-", 1)[0]


if __name__ == "__main__":
    main()
