"""int8 beside and with smaller layers: the rows of ``make bench-int8`` and docs/int8.md."""

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.data import load_data, normalise
from tensorpress.deploy import FORMATS, benchmark
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.runtimes.processor import processor

BATCH = 250


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="resnet56")
    parser.add_argument("--weights", required=True, help="trained weights of the dense network")
    parser.add_argument("--compressed", nargs="*", default=[], help="model.tp files of it")
    parser.add_argument("--data", required=True)
    parser.add_argument(
        "--calibrate", type=int, default=512, help="training images to calibrate on"
    )
    parser.add_argument("--images", type=int, help="test images; by default all")
    parser.add_argument("--formats", default="onnx,openvino")
    parser.add_argument("--batches", help="measure time too, at these batch sizes")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    print(f"{processor()}, Python {platform.python_version()}, torch {torch.__version__}")
    data = load_data(args.data)
    calibration, _ = images(data, data.train, drawn(len(data.train), args.calibrate))
    test = images(data, data.test, torch.arange(args.images or len(data.test)))
    dense = tp.load_weights(tp.networks.build(args.net, data.num_classes, 3), args.weights).eval()
    nets = {"dense": dense}
    for path in args.compressed:
        fresh = tp.networks.build(args.net, data.num_classes, 3)
        nets[Path(path).stem] = tp.load(path, into=tp.load_weights(fresh, args.weights)).eval()
    rows: list[dict[str, Any]] = []
    for name, net in nets.items():
        for kind in args.formats.split(","):
            for precision in ("f32", "int8"):
                row = {"network": name, "format": kind, "precision": precision}
                rows.append(row | exported(net, kind, precision, calibration, *test))
                print(rows[-1], flush=True)
    cells = []
    for name, net in nets.items() if args.batches else ():
        found = benchmark(
            dense,
            net,
            tuple(calibration.shape[1:]),
            runtimes=[FORMATS[kind].runtime or "torch" for kind in args.formats.split(",")],
            batches=[int(batch) for batch in args.batches.split(",")],
            threads=[int(count) for count in args.threads.split(",")],
            precisions=("f32", "auto", "int8"),
            calibration=calibration,
        )
        print(f"\n{name}\n{found}", flush=True)
        cells += [{"network": name, **cell.to_dict()} for cell in found.cells]
    if args.json:
        content = {"machine": processor(), "rows": rows, "cells": cells}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


def exported(
    net: nn.Module, kind: str, precision: str, calibration: Tensor, pixels: Tensor, labels: Tensor
) -> dict[str, Any]:
    """A file of the network: its accuracy on test images in percent, its bytes, its fidelity."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"net{FORMATS[kind].suffix}"
        options: dict[str, Any] = {}
        if precision == "int8":
            options = {"precision": "int8", "calibration": calibration, "min_agreement": 0.0}
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


def images(data: Any, part: Any, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Normalised images and their labels."""
    some = part.subset(chosen).held()
    return normalise(some.images, data.mean, data.std), some.labels


def drawn(total: int, count: int) -> Tensor:
    """So many places, at random."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count]


if __name__ == "__main__":
    main()
