"""int8 beside and with smaller layers: the rows of ``make bench-int8`` and docs/int8.md.

Every network is measured in the runtimes' own precision and in int8, as planned: accuracy of the
exported file on all test images, and milliseconds in turns with the dense network as the runtime
runs it by itself. With --choose SPEEDUP there is a row for what a budget of time over both
precisions takes, in each runtime and at each batch. Finished rows and times stand in OUT/int8.json
and are not done again. Files of compressed networks are named METHOD-RATIO.tp, such as auto-4.tp.
"""

import argparse
import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.data import Wanted, load_data, load_unlabelled, normalise
from tensorpress.deploy import FORMATS, benchmark
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.files import write_whole
from tensorpress.layers import Factorized
from tensorpress.networks import build

BATCH = 250
PRECISIONS = ("auto", "int8")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", default="resnet56")
    parser.add_argument("--weights", required=True, help="a file; 'own' of the network, 'random'")
    parser.add_argument("--compressed", nargs="*", default=[], type=Path, help="METHOD-RATIO.tp")
    parser.add_argument("--data", help="not needed with random weights")
    parser.add_argument("--input-shape", default="3,32,32", help="with own or random weights")
    parser.add_argument("--mean", type=channels, help="of --data, such as .5071,.4865,.4409")
    parser.add_argument("--std", type=channels)
    parser.add_argument("--calibrate", type=int, default=512, help="training images")
    parser.add_argument("--photographs", help="a folder to calibrate on in their place")
    parser.add_argument("--images", type=int, help="test images; by default all")
    parser.add_argument("--runtimes", default="onnxruntime,openvino,torch")
    parser.add_argument("--batches", default="", help="measure time too, at these: 1,128")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--choose", help="also let a budget choose, at such a speedup: 2.5")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "int8.json"
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    source = Source(given)
    dense = source.dense
    for name, net in networks(dense, given.compressed):
        for runtime in given.runtimes.split(","):
            for precision in PRECISIONS if runtime != "torch" else PRECISIONS[:1]:
                key = source.key(name, runtime, precision)
                row = next((row for row in rows if key.items() <= row.items()), None)
                if row is None:
                    row = key | {"calibration_images": given.calibrate, "milliseconds": {}}
                    if source.data is not None:
                        options: Row = {}
                        if precision == "int8":
                            options |= {"precision": precision, "calibration": source.calibration}
                        row |= source.exported(net, runtime, options)
                    rows.append(row | {"machine": machine("cpu")})
                    row = rows[-1]
                    keep(path, rows)
                    print(json.dumps(row), flush=True)
                times(row, dense, net, source.calibration, given)
                keep(path, rows)
    if given.choose:
        for runtime in given.runtimes.replace(",torch", "").split(","):
            for batch in map(int, given.batches.split(",")):
                key = source.key(f"choice-{given.choose}", runtime, "chosen") | {"batch": batch}
                if not any(key.items() <= row.items() for row in rows):
                    row = key | chosen(source, runtime, batch, float(given.choose))
                    rows.append(row | {"machine": machine("cpu")})
                    keep(path, rows)
                    print(json.dumps(rows[-1]), flush=True)


def keep(path: Path, rows: list[Row]) -> None:
    write_whole(path, json.dumps(rows, indent=1) + "\n")


def channels(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def networks(dense: nn.Module, files: list[Path]) -> list[tuple[str, nn.Module]]:
    """The dense one and the others, by name."""
    others = [(path.stem, tp.load(path, into=copy.deepcopy(dense)).eval()) for path in files]
    return [("dense", dense), *others]


class Source:
    """The dense network, what it is calibrated on, and what it is tested on, if its weights mean
    anything."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.network, self.count, self.data = given.net, given.images, None
        shape = tuple(map(int, given.input_shape.split(",")))
        if given.weights == "random":
            torch.manual_seed(0)
            self.dense = build(given.net).eval()
            self.calibration = torch.randn(given.calibrate, *shape)
            return
        own = given.weights == "own"
        wanted = Wanted(shape=shape) if own else None
        read = {"mean": given.mean, "std": given.std, "wanted": wanted}
        self.data = load_data(given.data, tests_alone=given.photographs is not None, **read)
        if own:
            self.dense = build(given.net).eval()
        else:
            self.dense = build(given.net, self.data.num_classes, self.data.input_shape[0])
            self.dense = tp.load_weights(self.dense, given.weights).eval()
        self.calibration = load_unlabelled(
            given.photographs or given.data, most=given.calibrate, **read
        )

    def key(self, name: str, runtime: str, precision: str) -> Row:
        return {
            "network": self.network.split(".py:")[-1],
            "data": self.data.name if self.data else "random weights",
            "name": name,
            "runtime": runtime,
            "precision": precision,
        }

    def exported(self, net: nn.Module, runtime: str, options: Row) -> Row:
        """A file of the network: its accuracy on test images in percent, its bytes, fidelity."""
        assert self.data is not None
        test = self.data.test.subset(torch.arange(self.count or len(self.data.test))).held()
        pixels = normalise(test.images, self.data.mean, self.data.std)
        kind = next(name for name, made in FORMATS.items() if made.runtime == runtime)
        if options:
            options = {"min_agreement": 0.0} | options
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"net{FORMATS[kind].suffix}"
            report = tp.export(net, path, pixels[:1], planned=True, progress=False, **options)
            run = FORMATS[kind].read_by_itself(path)
            parts = pixels.split(BATCH)  # type: ignore[no-untyped-call]
            outputs = torch.cat([run(read_feed(x, dynamic_batch=True))[0] for x in parts])
        accuracy = 100 * float((outputs.argmax(1) == test.labels).double().mean())
        found = report.fidelity.get("calibration")
        return {
            "acc": round(accuracy, 2),
            "stderr": round((accuracy * (100 - accuracy) / len(test.labels)) ** 0.5, 2),
            "images": len(test.labels),
            "bytes": report.bytes,
            "fidelity": None if found is None else found.to_dict(),
        }


def chosen(source: Source, runtime: str, batch: int, speedup: float) -> Row:
    """What a budget of time takes of forms and precisions, and how that does."""
    precisions = ("auto", "int8")
    budget = tp.Budget(
        speedup=speedup, runtime=runtime, batch=batch, threads=1, precisions=precisions
    )
    images = source.calibration
    recovery = tp.Recovery(distil_epochs=0)
    try:
        found = tp.compress(
            source.dense, images[:1], budget=budget, calibration=images, recover=recovery
        )
    except tp.TensorpressError as error:
        return {"chosen": [str(error)], "milliseconds": {}}
    told = found.precision
    assert told is not None
    options: Row = {}
    if told.name == "int8":
        options = {"precision": "int8", "calibration": images, "keep_float": told.in_float}
    decomposed = sum(isinstance(m, Factorized) for m in found.model.modules())
    layers = sum(isinstance(m, (nn.Conv2d, nn.Linear)) for m in source.dense.modules())
    cell = {"planned": told.milliseconds, "dense": told.before, "certain": True}
    row: Row = {
        "chosen": told.sentences(decomposed, layers),
        "milliseconds": {f"{batch}-1": cell},
        "calibration_images": len(images),
    }
    if source.data is not None:
        row |= source.exported(found.model, runtime, options)
    return row


def times(
    row: Row, dense: nn.Module, net: nn.Module, calibration: Tensor, given: argparse.Namespace
) -> None:
    """Milliseconds of it and of the dense network, for each "batch-threads" that is missing."""
    for batch in filter(None, given.batches.split(",")):
        for threads in given.threads.split(","):
            if f"{batch}-{threads}" in row["milliseconds"]:
                continue
            found = benchmark(
                dense,
                net,
                tuple(calibration.shape[1:]),
                runtimes=[row["runtime"]],
                batches=[int(batch)],
                threads=[int(threads)],
                precisions=[row["precision"]],
                calibration=calibration if row["precision"] == "int8" else None,
            )
            (cell,) = found.cells
            row["milliseconds"][f"{batch}-{threads}"] = {
                "planned": 1e3 * cell.planned.median,
                "dense": 1e3 * cell.own.median,
                "certain": cell.certain,
            }
            told = row["milliseconds"][f"{batch}-{threads}"]
            print(row["name"], row["runtime"], row["precision"], batch, threads, told, flush=True)


if __name__ == "__main__":
    main()
