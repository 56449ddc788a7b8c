"""int8 beside and with smaller layers: the rows of ``make bench-int8`` and docs/int8.md.

Every network is measured in the runtimes' own precision and in int8, as planned: accuracy of the
exported file on all test images, and milliseconds in turns with the dense network as the runtime
runs it by itself. Finished rows and times stand in OUT/int8.json and are not done again. Files of
compressed networks are named METHOD-RATIO.tp, such as auto-4.tp.
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
from tensorpress.data import Dataset, load_data, normalise, unlabelled_of
from tensorpress.deploy import FORMATS, benchmark
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.files import write_whole
from tensorpress.networks import build

BATCH = 250
PRECISIONS = ("auto", "int8")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", default="resnet56")
    parser.add_argument("--weights", required=True, help="trained weights; 'random' for time alone")
    parser.add_argument("--compressed", nargs="*", default=[], type=Path, help="METHOD-RATIO.tp")
    parser.add_argument("--data", required=True)
    parser.add_argument("--mean", type=channels, help="of --data, such as .5071,.4865,.4409")
    parser.add_argument("--std", type=channels)
    parser.add_argument("--calibrate", type=int, default=512, help="training images")
    parser.add_argument("--images", type=int, help="test images; by default all")
    parser.add_argument("--runtimes", default="onnxruntime,openvino,torch")
    parser.add_argument("--batches", default="", help="measure time too, at these: 1,128")
    parser.add_argument("--threads", default="1")
    parser.add_argument("-o", "--output", type=Path, required=True)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    path = given.output / "int8.json"
    rows: list[Row] = json.loads(path.read_text()) if path.exists() else []
    data = load_data(given.data, mean=given.mean, std=given.std)
    calibration = unlabelled_of(data, most=given.calibrate)
    dense = build(given.net, data.num_classes, data.input_shape[0]).eval()
    if given.weights != "random":
        dense = tp.load_weights(dense, given.weights).eval()
    for name, net in networks(dense, given.compressed):
        for runtime in given.runtimes.split(","):
            for precision in PRECISIONS if runtime != "torch" else PRECISIONS[:1]:
                key = {
                    "network": given.net, "data": data.name, "name": name,
                    "runtime": runtime, "precision": precision,
                }  # fmt: skip
                row = next((row for row in rows if key.items() <= row.items()), None)
                if row is None:
                    row = key | {"calibration_images": given.calibrate, "milliseconds": {}}
                    if given.weights != "random":
                        row |= exported(net, runtime, precision, calibration, data, given.images)
                    rows.append(row | {"machine": machine("cpu")})
                    row = rows[-1]
                    write_whole(path, json.dumps(rows, indent=1) + "\n")
                    print(json.dumps(row), flush=True)
                times(row, dense, net, calibration, given)
                write_whole(path, json.dumps(rows, indent=1) + "\n")


def channels(text: str) -> tuple[float, ...]:
    return tuple(map(float, text.split(",")))


def networks(dense: nn.Module, files: list[Path]) -> list[tuple[str, nn.Module]]:
    """The dense one and the others, by name."""
    others = [(path.stem, tp.load(path, into=copy.deepcopy(dense)).eval()) for path in files]
    return [("dense", dense), *others]


def exported(
    net: nn.Module,
    runtime: str,
    precision: str,
    calibration: Tensor,
    data: Dataset,
    count: int | None,
) -> Row:
    """A file of the network: its accuracy on test images in percent, its bytes, its fidelity."""
    some = data.test.subset(torch.arange(count or len(data.test))).held()
    pixels, labels = normalise(some.images, data.mean, data.std), some.labels
    kind = next(name for name, made in FORMATS.items() if made.runtime == runtime)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{FORMATS[kind].suffix}"
        options: dict[str, Any] = {"planned": True}
        if precision == "int8":
            options |= {"precision": "int8", "calibration": calibration, "min_agreement": 0.0}
        report = tp.export(net, path, pixels[:1], progress=False, **options)
        run = FORMATS[kind].read_by_itself(path)
        parts = pixels.split(BATCH)  # type: ignore[no-untyped-call]
        outputs = torch.cat([run(read_feed(x, dynamic_batch=True))[0] for x in parts])
    accuracy = 100 * float((outputs.argmax(1) == labels).double().mean())
    found = report.fidelity.get("calibration")
    return {
        "acc": round(accuracy, 2),
        "stderr": round((accuracy * (100 - accuracy) / len(labels)) ** 0.5, 2),
        "images": len(labels),
        "bytes": report.bytes,
        "fidelity": None if found is None else found.to_dict(),
    }


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
