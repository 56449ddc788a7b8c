"""Write docs/networks.md from measured networks: python scripts/make_networks_page.py OUT

OUT is the folder of `make bench-networks`. The rows go to docs/networks.json, the tables to
docs/networks.md between its marks.
"""

import argparse
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from marked_page import DOCS, put

STEPS = {
    "compress": "compressed", "save_and_load": "saved, loaded", "export": "ONNX", "plan": "planned",
    "calibrate": "calibrated", "use": "used again",
}  # fmt: skip
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of make bench-networks")
    folder = parser.parse_args().folder
    found = (json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json")))
    rows = [row for row in found if row["ended"]]
    for step in (step for row in rows for step in row["steps"].values()):
        step.pop("where", None)
    (DOCS / "networks.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    put("networks.md", "networks", section(rows))


def section(rows: Sequence[Row]) -> str:
    """Counts, a table for each library, and what is said where a step did not pass."""
    return "\n".join([*counts(rows), *tables(rows), *sayings(rows)]) + "\n"


def counts(rows: Sequence[Row]) -> Iterator[str]:
    states = Counter(step["state"] for row in rows for step in row["steps"].values())
    whole = sum(all(s["state"] == "pass" for s in row["steps"].values()) for row in rows)
    machines = sorted({row["machine"] for row in rows})
    yield (
        f"{len(rows)} networks, of which {whole} pass every step; of {sum(states.values())} steps "
        f"{states['pass']} pass, {states['refused']} are refused in a sentence and "
        f"{states['fault']} are faults. {'; '.join(machines)}."
    )
    yield ""


def tables(rows: Sequence[Row]) -> Iterator[str]:
    numbers = numbered(rows)
    for library in sorted({row["library"] for row in rows}):
        yield f"### {library}"
        yield ""
        yield "| network | input | M parameters | " + " | ".join(STEPS.values()) + " | GiB |"
        yield "|---|---|---|" + "---|" * len(STEPS) + "---|"
        for row in (row for row in rows if row["library"] == library):
            size = " x ".join(map(str, row["shape"]))
            cells = [cell(row, step, numbers) for step in STEPS]
            parameters = f"{row['parameters'] / 1e6:.2f}" if "parameters" in row else "?"
            first = f"| {row['network']} | {size} | {parameters} | "
            yield first + " | ".join(cells) + f" | {row.get('gib', 0):.1f} |"
        yield ""


def cell(row: Row, name: str, numbers: dict[str, int]) -> str:
    step = row["steps"].get(name)
    if step is None:
        return "-"
    if step["state"] != "pass":
        return f"[{numbers[step['said']]}]"
    ratios = f"FCR {step['fcr']:.2f}, " if "fcr" in step else ""
    fixed = ", fixed batch" if step.get("fixed_batch") else ""
    return f"{ratios}{step['seconds']:.0f} s{fixed}"


def numbered(rows: Sequence[Row]) -> dict[str, int]:
    """What is said of steps that do not pass, numbered as it comes."""
    said = (s["said"] for row in rows for s in row["steps"].values() if s["state"] != "pass")
    return {text: number for number, text in enumerate(dict.fromkeys(said), 1)}


def sayings(rows: Sequence[Row]) -> Iterator[str]:
    states = {s["said"]: s["state"] for row in rows for s in row["steps"].values()}
    for text, number in numbered(rows).items():
        yield f"{number}. {states[text]}: {' '.join(text.split())}"


if __name__ == "__main__":
    main()
