"""Put measured networks in int8 into docs/: python scripts/make_int8_page.py OUT...

Each argument is a folder of `make bench-int8`. Their rows go to docs/int8.json, the tables to
docs/int8.md, between its marks, and a plot of each network with accuracies beside it.
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
NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="of make bench-int8")
    rows = [
        row
        for folder in parser.parse_args().folders
        for row in json.loads((folder / ROWS).read_text(encoding="utf-8"))
    ]
    (DOCS / ROWS).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    text = ""
    for (network, data), some in by_network(rows).items():
        text += "".join(section(network, data, some))
        if any("acc" in row for row in some) and charts(some):
            picture = f"int8-{network}-{data}.png"
            text += f"\n![Accuracy against measured speed]({picture})\n"
            write_png(DOCS / picture, charts(some), columns=2)
    put("int8.md", "measured", text)


def by_network(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["network"], row["data"]), []).append(row)
    return found


def section(network: str, data: str, rows: Sequence[Row]) -> Iterator[str]:
    """A line for each network and precision, in Markdown: accuracies, bytes, times."""
    runtimes = list(dict.fromkeys(row["runtime"] for row in rows))
    settings = list(dict.fromkeys(key for row in rows for key in row["milliseconds"]))
    scored = any("acc" in row for row in rows)
    yield f"\n**{network}**" + (f" on {data}" if scored else ", random weights") + "\n\n"
    head = ["network", "precision"]
    head += [f"{NAMES[one]}, %" for one in runtimes] if scored else []
    head += ["bytes"] if scored else []
    head += [f"{NAMES[one]}, {told(key)}" for key in settings for one in runtimes]
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
            cells += [speed(some.get(one), key) for key in settings for one in runtimes]
            yield f"| {' | '.join(cells)} |\n"


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
            some = [r for r in rows if r["runtime"] == runtime and key in r["milliseconds"]]
            if any("acc" in row for row in some):
                found.append(chart(some, f"{NAMES[runtime]}, {told(key)}", key))
    return found


def chart(rows: Sequence[Row], title: str, key: str) -> Chart:
    ways = list(dict.fromkeys(way(row["name"]) for row in rows))
    base = max(row["acc"] for row in rows if (row["name"], row["precision"]) == ("dense", "auto"))
    lines = []
    for number, name in enumerate(ways):
        for precision in ("auto", "int8"):
            points = sorted(
                (
                    row["milliseconds"][key]["dense"] / row["milliseconds"][key]["planned"],
                    row["acc"],
                )
                for row in rows
                if (way(row["name"]), row["precision"]) == (name, precision)
            )
            if points:
                label = name if precision == "auto" else f"{name}, int8"
                lines.append(Line(points, label, number, dashes=int(precision == "int8")))
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
