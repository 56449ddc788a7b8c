"""Put the rows of finished runs into docs/results.json, docs/results.md and its plots.

python scripts/make_results_page.py [--int8] [RUN...]

RUN is the folder of `tensorpress finetune --teacher` or of `tensorpress train --weights` (a
control, or at 0 epochs the network as it is), or a results.json of `run` and `reproduce`. Of a
network that `tensorpress compress` made, the command is read off the account.json beside it, so
start it where the runs were started. With --int8 every network that is added is also measured in
int8, on the data that its row names. A row that stands there already, of the same settings and
seed, is replaced. Without RUN the page is made again.
"""

import argparse
import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

from marked_page import DOCS, put

from tensorpress import artifacts
from tensorpress.data import load_data
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
    rows = {_key(row): row for row in read_results(ROWS)}
    for path in given.runs:
        if path.suffix == ".json":
            assert path.is_file(), f"there is no file {path}"
            found = read_results(path)
        elif not (path / "summary.json").exists():
            print(f"{path} is not finished: left out")
            continue
        else:
            row = replace(result_in(path), command=_command(path))
            found = [row]
            known = rows.get(_key(replace(row, method=row.method_in_int8)))
            if given.int8 and not row.is_control and known is None:
                found.append(_in_int8(row, path))
        rows |= {_key(row): row for row in found}
    ordered = sorted(rows.values(), key=_place)
    write_results(ROWS, ordered)
    put("results.md", "rows", f"\n{markdown(ordered)}\n")
    plot_results(ordered, DOCS)


def _key(row: Result) -> tuple[object, ...]:
    return (row.network, row.data, row.method, row.baseline, row.epochs, row.seed)


def _place(row: Result) -> tuple[object, ...]:
    """By network and data, then by ratio and method, the dense network first."""
    return (
        *(row.network, row.data, row.is_compressed, round(row.fcr)),
        row.method.removesuffix(", int8"),
        *(row.epochs, row.is_int8, row.seed),
    )


def _command(run: Path) -> str:
    """What made the run, with what made the network that it began with."""
    command = json.loads((run / "config.json").read_text(encoding="utf-8"))["command"]
    words = shlex.split(command)
    if "--compressed" in words:
        account = Path(words[words.index("--compressed") + 1]).parent / "account.json"
        made = json.loads(account.read_text(encoding="utf-8"))["command"]
        command = f"{made}; {command}"
    return re.sub(r"(?<=[\s=])/\S*/", "", command)


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
