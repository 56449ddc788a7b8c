"""Every listed network through the whole path, and back into its own library: docs/networks.md.

Run by `make bench-networks ARGS="-o OUT"`, with the libraries that are there. Each network has a
process of its own, which writes down each step as it ends; a step passes, or is refused in a
sentence, or is a fault. Finished networks stand in OUT/networks.json and are not run again.
`scripts/make_networks_page.py OUT` writes the page.
"""

import argparse
import copy
import importlib.util
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from listed_networks import Listed, listed
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.files import write_whole
from tensorpress.progress import track

IMAGES = 16
RULE = tp.Energy(0.8)
BUDGET = tp.Budget(macs=1.5)
FORMS = ("ttpwt", "spatial-svd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", default="", help="names that hold one of these, by commas")
    parser.add_argument("--minutes", type=float, default=10.0, help="of a core, for one network")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    if given.one:
        torch.set_num_threads(given.threads)
        seconds = int(60 * given.minutes)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        one = next(it for it in listed() if key(it) == given.one)
        for row in walk(one):
            write_whole(place(given.output, one), json.dumps(row, indent=1) + "\n")
    else:
        run_all(given)


def key(one: Listed) -> str:
    return f"{one.library}: {one.name}"


def place(folder: Path, one: Listed) -> Path:
    name = "".join(c if c.isalnum() else "-" for c in key(one))
    return folder / f"{name}.json"


def run_all(given: argparse.Namespace) -> None:
    wanted = [it for it in listed() if any(part in key(it) for part in given.only.split(","))]
    there = [it for it in wanted if importlib.util.find_spec(it.library)]
    if len(there) < len(wanted):
        missing = sorted({it.library for it in wanted} - {it.library for it in there})
        print(f"{len(wanted) - len(there)} networks left out, not installed: {', '.join(missing)}")
    for one in track(there, "networks"):
        path = place(given.output, one)
        if path.exists() and json.loads(path.read_text())["ended"]:
            continue
        command = [sys.executable, __file__, "--one", key(one), "-o", str(given.output)]
        command += ["--threads", str(given.threads), "--minutes", str(given.minutes)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        said = (ended.stderr.strip() or f"ended by signal {-ended.returncode}")[-2000:]
        if -ended.returncode in (signal.SIGXCPU, signal.SIGKILL):
            said = f"not ended after {given.minutes:g} minutes of a core, or out of memory"
        row = json.loads(path.read_text()) if path.exists() else new_row(one)
        if not row["ended"]:
            row["steps"].setdefault("fault", {"state": "fault", "said": said, "seconds": 0.0})
        write_whole(path, json.dumps(row | {"ended": True}, indent=1) + "\n")
        print(json.dumps(summary(row)), flush=True)


def new_row(one: Listed) -> dict[str, Any]:
    return {
        "library": one.library, "network": one.name, "shape": one.shape, "steps": {},
        "machine": machine("cpu"), "ended": False,
    }  # fmt: skip


def summary(row: dict[str, Any]) -> dict[str, Any]:
    steps = {n: s["state"] if s["state"] == "pass" else s["said"] for n, s in row["steps"].items()}
    return {"network": f"{row['library']}: {row['network']}"} | steps


def walk(one: Listed) -> Iterator[dict[str, Any]]:
    """The row of a network, after each step."""
    row = new_row(one)
    torch.manual_seed(0)
    net = one.build().eval()
    batch = smooth(IMAGES, one.shape)
    inputs, single = one.arguments(batch[:2]), one.arguments(batch[:1])
    row |= {"parameters": sum(weight.numel() for weight in net.parameters())}
    made: dict[str, Any] = {}

    def compress() -> dict[str, float]:
        made["plain"] = account = tp.compress(net, single, rank=RULE, progress=False)
        return {"pcr": account.pcr, "fcr": account.fcr}

    def save_and_load() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.tp"
            tp.save(made["plain"].model, path)
            loaded = tp.load(path, into=copy.deepcopy(net)).eval()
        with torch.no_grad():
            expected, found = (called(m, single) for m in (made["plain"].model.eval(), loaded))
        torch.testing.assert_close(found, expected, equal_nan=True)

    def export() -> dict[str, bool]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "net.onnx"
            try:
                tp.export(made["plain"].model, path, single, progress=False)
            except tp.TensorpressError as error:
                if "dynamic_batch=False" not in str(error):
                    raise
                tp.export(made["plain"].model, path, single, dynamic_batch=False, progress=False)
                return {"fixed_batch": True}
        return {}

    def plan() -> None:
        run = tp.plan(made["plain"].model, single, cache=False, progress=False)
        called(run, single)

    def calibrate() -> dict[str, Any]:
        images = one.arguments(batch)
        account = tp.compress(
            net, single, budget=BUDGET, methods=FORMS, calibration=rows_of(images, batch),
            progress=False, recover=tp.Recovery(distil_epochs=1), **one.options,
        )  # fmt: skip
        made["calibrated"] = account
        return {"pcr": account.pcr, "fcr": account.fcr}

    def use() -> None:
        model = copy.deepcopy(made.get("calibrated", made.get("plain")).model)
        if one.use is None:
            with torch.no_grad():
                called(model.train(), inputs)
                called(model.eval(), single)
        else:
            one.use(model, batch[:2])

    held = peak()
    for step in (compress, save_and_load, export, plan, calibrate, use):
        name = step.__name__
        if name != "compress" and "plain" not in made and name != "calibrate":
            continue
        row["steps"][name] = tried(step)
        row |= {"gib": peak() - held}
        yield row
    row["ended"] = True
    yield row


def smooth(count: int, shape: tuple[int, ...]) -> Tensor:
    """Noise with the smoothness of images, in 0 .. 1, (count, *shape)."""
    if len(shape) < 3:
        return torch.randn(count, *shape)
    coarse = tuple(max(2, size // 8) for size in shape[1:])
    mode = "bilinear" if len(coarse) == 2 else "trilinear"
    noise = torch.rand(count, shape[0], *coarse)
    return nn.functional.interpolate(noise, size=shape[1:], mode=mode)


def rows_of(images: Any, batch: Tensor) -> Any:
    """Calibration in the form of what a network takes; of a list of images, the batch of them."""
    is_listed = isinstance(images, tuple) and isinstance(images[0], list)
    return batch if is_listed else images


def called(net: Callable[..., Any], inputs: Any) -> Any:
    return net(*inputs) if isinstance(inputs, tuple) else net(inputs)


def tried(step: Callable[[], dict[str, Any] | None]) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        facts = {"state": "pass", "said": ""} | (step() or {})
    except tp.TensorpressError as error:
        facts = {"state": "refused", "said": str(error)}
    except Exception as error:  # whatever a network of others does is to stand in its row
        where = traceback.format_exc()
        facts = {"state": "fault", "said": f"{type(error).__name__}: {error}"[:500], "where": where}
    return facts | {"seconds": time.perf_counter() - start}


def peak() -> float:
    """GiB that the process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
