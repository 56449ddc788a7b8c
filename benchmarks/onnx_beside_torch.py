"""The same network compressed as an ONNX file and as a module of PyTorch: docs/onnx.md.

Run by `make bench-onnx-beside-torch WEIGHTS=FILE DATA=DIR`. Both in closed form, on the same
training images without labels. What came of the module is exported; the files are then timed in
turns in ONNX Runtime, and their accuracy is that on the test images. The third way is the module
with its batch norms folded into the layers before them, as they are in a file. Layers that were
replaced otherwise than in the file are told below.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import onnxruntime
import torch

import tensorpress as tp
from tensorpress.data import load_data, unlabelled_of
from tensorpress.deploy.execution import fold_batch_norms
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.latency import interleaved_times
from tensorpress.graphs import read_graph_network
from tensorpress.networks import build
from tensorpress.training import evaluate

CLOSED_FORM = tp.Recovery(distil_epochs=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--net", default="resnet56")
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=128, help="to calibrate on")
    parser.add_argument("--macs", type=float, default=2.0, help="FCR to reach")
    parser.add_argument("--method", default="auto")
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("-o", "--output", type=Path, help="folder for the files and rows.json")
    given = parser.parse_args()
    if given.output is not None:
        given.output.mkdir(parents=True, exist_ok=True)
        measure(given, given.output)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(given, Path(folder))


def measure(given: argparse.Namespace, folder: Path) -> None:
    data = load_data(given.data)
    net = tp.load_weights(build(given.net, data.num_classes, data.input_shape[0]), given.weights)
    net = net.eval()
    images = unlabelled_of(data, most=given.images)
    example = torch.zeros(1, *data.input_shape)
    asked: dict[str, Any] = {
        "method": given.method, "budget": tp.Budget(macs=given.macs), "calibration": images,
        "recover": CLOSED_FORM, "progress": False,
    }  # fmt: skip
    dense = folder / "dense.onnx"
    tp.export(net, dense, example, progress=False)
    nets = {
        "module": net,
        "folded": fold_batch_norms(net, read_feed(example, dynamic_batch=True)).net,
    }
    places = {name: folder / f"{name}.onnx" for name in ("file", *nets)}
    seconds = {}
    start = time.perf_counter()
    of_file = tp.compress_onnx(dense, places["file"], **asked)
    seconds["file"] = time.perf_counter() - start
    accounts: dict[str, tp.Account] = {"file": of_file}
    for name, made in nets.items():
        start = time.perf_counter()
        accounts[name] = tp.compress(made, example, **asked)
        seconds[name] = time.perf_counter() - start
        tp.export(accounts[name].model, places[name], example, progress=False)
    rows = []
    for name, path in {"dense": dense, **places}.items():
        found = evaluate(read_graph_network(path), data)
        row = {"network": name, "acc": found.percent, "stderr": found.stderr}
        row["images"] = found.images
        if name in accounts:
            found_by = accounts[name]
            row |= {"pcr": found_by.pcr, "fcr": found_by.fcr, "seconds": seconds[name]}
        rows.append(row)
        print(row, flush=True)
    times = timed([dense, *places.values()], data.input_shape, given)
    for batch, taken in times.items():
        print(f"batch {batch}: ms", [round(1000 * best, 3) for best in taken], flush=True)
    told = {name: differing(of_file, accounts[name]) for name in nets}
    for name, layers in told.items():
        print(f"{len(layers)} layers replaced otherwise (file, {name}):", *layers, sep="\n")
    content = {**vars(given), "rows": rows, "milliseconds": times, "otherwise": told}
    (folder / "rows.json").write_text(json.dumps(content, indent=1, default=str) + "\n")


def timed(
    paths: list[Path], shape: tuple[int, ...], given: argparse.Namespace
) -> dict[int, list[float]]:
    """Median seconds of each file at each batch size, in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    sessions = [
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        for path in paths
    ]
    found = {}
    for batch in map(int, given.batches.split(",")):
        x = torch.rand(batch, *shape).numpy()
        calls = [partial(s.run, None, {s.get_inputs()[0].name: x}) for s in sessions]
        times = interleaved_times(calls, max(given.rounds // batch, 20))
        found[batch] = [sorted(taken)[len(taken) // 2] for taken in times]
    return found


def differing(file: Any, module: Any) -> list[str]:
    """The layers that the two replaced in other ways, paired by their order."""
    first, second = (list(account.layers) for account in (file, module))
    return [
        f"{a.name}: {a.method} {a.ranks}; {b.name}: {b.method} {b.ranks}"
        for a, b in zip(first, second, strict=True)
        if (a.method, a.ranks) != (b.method, b.ranks)
    ]


if __name__ == "__main__":
    main()
