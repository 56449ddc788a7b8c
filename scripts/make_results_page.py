"""Put the rows of finished runs into docs/results.json, docs/results.md and its plots.

python scripts/make_results_page.py [--int8] [RUN...]

RUN is the folder of `tensorpress finetune --teacher` or of `tensorpress train --weights` (a
control, or at 0 epochs the network as it is) or of `tensorpress run`, or a results.json of `run`
and `reproduce`. The commands that made the network and the weights that a run began with are read
off the account.json or config.json beside these, so start it where the runs were started. With
--int8 every network that is added is also measured in int8, on the data that its row names. A row
that stands there already, of the same settings and seed, is replaced, and one in int8 goes with it.
Without RUN the page is made again.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from marked_page import DOCS, put

from tensorpress import artifacts
from tensorpress.data import load_data
from tensorpress.errors import TensorpressError
from tensorpress.experiments import Result, read_results, result_in, write_results
from tensorpress.experiments.int8 import accuracy_in_int8
from tensorpress.experiments.results_page import markdown, plot_results
from tensorpress.networks import build

ROWS = DOCS / "results.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--int8", action="store_true")
    given = parser.parse_args()
    try:
        put_rows(given.runs, int8=given.int8)
    except TensorpressError as error:
        sys.exit(f"error: {error}")


def put_rows(runs: list[Path], *, int8: bool) -> None:
    """Add the rows of ``runs`` to the page.

    Raises:
        TensorpressError: one of them holds no row; nothing is changed then.
    """
    rows = {_key(row): row for row in read_results(ROWS)}
    for path in runs:
        if not path.exists():
            raise TensorpressError(f"there is no {path}.")
        if path.suffix == ".json":
            found = read_results(path)
        elif path.suffix == ".log" and path.with_suffix("").is_dir():
            continue  # what a run has printed, beside it
        elif not (path / "summary.json").exists():
            print(f"{path} is not finished: left out")
            continue
        else:
            row = result_in(path)
            found = [replace(row, command=_command(row.command))]
            of_int8 = _key(replace(row, is_int8=True))
            known = rows.get(_key(row))
            if known is not None and known.acc != row.acc and rows.pop(of_int8, None):
                print(f"{path} replaces a network: the row of that one in int8 is left out")
            if int8 and not row.is_control and of_int8 not in rows:
                found.append(_in_int8(found[0], path))
        rows |= {_key(row): row for row in found}
    ordered = sorted(rows.values(), key=_place)
    write_results(ROWS, ordered)
    put("results.md", "rows", f"\n{markdown(ordered)}\n")
    plot_results(ordered, DOCS)


def _key(row: Result) -> tuple[object, ...]:
    return (row.network, row.data, row.name, row.baseline, row.epochs, row.seed)


def _place(row: Result) -> tuple[object, ...]:
    """By network, data and baseline, then by ratio and method, the dense network first."""
    return (
        *(row.network, row.data, row.baseline, row.is_compressed, round(row.fcr)),
        *(row.method, row.recipe, row.epochs, row.is_int8, row.seed),
    )


def _command(command: str) -> str:
    """It, after those that made what it begins with; folders that are not relative are left out."""
    found = dict.fromkeys(_made_by(command, ()))
    return "; ".join(shlex.join(map(_shortened, shlex.split(each))) for each in found)


BEGINS_WITH = ("--weights", "--teacher", "--compressed")
MADE = ("model.tp", "baseline.pt", "dense_control.pt")


def _made_by(command: str, after: tuple[str, ...]) -> Iterator[str]:
    """``command`` after those that made the files it names, which it is not itself among."""
    if command in after:
        return
    words = [part for word in shlex.split(command) for part in _option_and_value(word)]
    for option, value in pairwise(words):
        if option in BEGINS_WITH and Path(value).name in MADE:
            made = _recorded(Path(value).parent)
            if made is None:
                print(f"{value} has no command beside it: the row does not tell what made it")
            else:
                yield from _made_by(made, (*after, command))
    yield command


def _recorded(folder: Path) -> str | None:
    for name in ("account.json", "config.json"):
        if (folder / name).is_file():
            try:
                content = json.loads((folder / name).read_text(encoding="utf-8"))
            except ValueError as error:
                raise TensorpressError(f"{folder / name} is damaged ({error}).") from error
            command = content.get("command") if isinstance(content, dict) else None
            return command if isinstance(command, str) else None
    return None


def _option_and_value(word: str) -> list[str]:
    return word.split("=", 1) if word.startswith("--") else [word]


def _shortened(word: str) -> str:
    """Without the folders of a path that begins at the root."""
    option, value = word.split("=", 1) if word.startswith("--") and "=" in word else ("", word)
    name = Path(value).name if value.startswith("/") else value
    return f"{option}={name}" if option else name


def _in_int8(row: Result, run: Path) -> Result:
    model = run / "model.tp"
    source = artifacts.read_manifest(model).source
    images = load_data(row.data, mean=source["mean"], std=source["std"])
    net = build(source["network"], source["num_classes"], source["input_shape"][0])
    found = row.in_int8(accuracy_in_int8(artifacts.load(model, into=net), images))
    measured = f"python scripts/make_results_page.py --int8 {run}"
    return replace(found, command=f"{row.command}; {measured}")


if __name__ == "__main__":
    main()
