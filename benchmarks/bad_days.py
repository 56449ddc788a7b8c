"""What was tried to break tensorpress, and what came of it: the table of docs/robustness.md.

Run by `make bench-bad-days`; `--share 0.1` tries a tenth of everything. Refused is one clear
error with everything as it was before; survived is a result equal to the undisturbed one; lost is
anything else, and the command then ends with exit code 1.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

TESTS = Path(__file__).parent.parent / "tests"
sys.path[:0] = [str(TESTS / "bad_days"), str(TESTS / "training")]

import graph_mutations  # noqa: E402
import mutations  # noqa: E402
import size  # noqa: E402
import test_interrupted  # noqa: E402
import test_mutations  # noqa: E402
import tiny  # noqa: E402
from journey import travel  # noqa: E402
from random_networks import Case  # noqa: E402

import tensorpress as tp  # noqa: E402
from tensorpress.training.metrics import read_metrics  # noqa: E402

Row = tuple[str, Counter[str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--share", type=float, default=1.0, help="of everything to try")
    share = parser.parse_args().share

    def times(count: int) -> int:
        return max(1, round(count * share))

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [
            *networks(folder, times(1000), times(40)),
            *altered_files(folder, times(10_000), times(2_000)),
            *altered_graphs(times(1_000)),
            *kills(folder, times(30), times(10)),
        ]
        print_table(rows)
        print_sizes(folder)
    return int(any(counts["lost"] for _, counts in rows))


def print_table(rows: Iterable[Row]) -> None:
    """In Markdown, as it stands in docs/robustness.md."""
    print("| tried | times | refused | survived | lost |\n|---|---|---|---|---|")
    for what, counts in rows:
        found = (counts.total(), counts["refused"], counts["survived"], counts["lost"])
        print(f"| {what} | {' | '.join(f'{number:,}' for number in found)} |")
    print()


def networks(folder: Path, journeys: int, exports: int) -> Iterable[Row]:
    def journey(seed: int) -> str:
        travel(Case.of(seed), folder / "net.tp")
        return "survived"

    def export(seed: int) -> str:
        case = Case.of(seed)
        case = Case(case.seed, case.dims, torch.float32)
        loaded = travel(case, folder / "net.tp")
        tp.export(loaded, folder / "net.onnx", case.images(2))
        return "survived"

    yield "random networks: compress, save, load", tally(journey, journeys)
    yield "random networks: also to ONNX, outputs compared", tally(export, exports)


def altered_files(folder: Path, compressed: int, plain: int) -> Iterable[Row]:
    good = test_mutations.compressed_file(folder)
    torch.save(test_mutations.small_net().state_dict(), folder / "good.pt")
    weights = (folder / "good.pt").read_bytes()
    load, read = test_mutations.load, test_mutations.read_weights
    for what, content, alter, way, count in (
        ("bytes of a .tp file altered", good, mutations.alter_bytes, load, compressed),
        ("values of a manifest altered", good, mutations.alter_manifest, load, compressed),
        ("bytes of a .pt file altered", weights, mutations.alter_bytes, read, plain),
    ):
        counts: Counter[str] = Counter()
        for first in track(range(0, count, 100), what, console=Console(stderr=True)):
            seeds = range(first, min(first + 100, count))
            counts += mutations.outcomes(
                content, alter, way, test_mutations.small_net, folder, seeds
            )
        counts["survived"] = counts.pop("equal", 0)
        yield what, counts


def altered_graphs(count: int) -> Iterable[Row]:
    """In processes of their own, which a file might end."""
    yield "bytes of an ONNX file altered", graph_mutations.outcomes("bytes", range(count))
    yield "parts of an ONNX graph altered", graph_mutations.outcomes("graph", range(count))


def kills(folder: Path, saves: int, runs: int) -> Iterable[Row]:
    def save(seed: int) -> str:
        found = test_interrupted.killed_while_saving(folder, seed)
        return "lost" if found == "lost" else "survived"

    straight = tiny.tiny_run(folder / "straight").folder

    def train(seed: int) -> str:
        at = folder / f"run{seed}"
        command = [sys.executable, str(Path(tiny.__file__)), str(at)]
        draw = random.Random(seed)
        for _ in range(3):
            seen = len(read_metrics(at / "metrics.jsonl"))
            with subprocess.Popen(command) as process:
                while process.poll() is None and len(read_metrics(at / "metrics.jsonl")) == seen:
                    time.sleep(0.002)
                time.sleep(0.1 * draw.random())
                process.kill()
        subprocess.run(command, check=True)
        same = (at / "model.tp").read_bytes() == (straight / "model.tp").read_bytes()
        return "survived" if same else "lost"

    yield "SIGKILL while a file is overwritten", tally(save, saves)
    yield "three SIGKILLs while training, then to its end", tally(train, runs)


def tally(attempt: Callable[[int], str], count: int) -> Counter[str]:
    """What came of each attempt; an exception that is no TensorpressError is a loss."""
    counts: Counter[str] = Counter()
    for seed in track(range(count), attempt.__name__, console=Console(stderr=True)):
        try:
            counts[attempt(seed)] += 1
        except tp.TensorpressError as error:
            print(f"refused, seed {seed}: {error}", file=sys.stderr)
            counts["refused"] += 1
        except Exception as error:
            print(f"lost, seed {seed}: {error!r}", file=sys.stderr)
            counts["lost"] += 1
    return counts


def print_sizes(folder: Path) -> None:
    for layers in (500, 1000, 2000):
        taken = size.deep_seconds(layers, folder / "deep.tp")
        each = ", ".join(f"{name} {1000 * taken[name] / layers:.2f}" for name in taken)
        print(f"{layers:,} layers: {each} ms a layer")
    for tau in (0.5, 0.6, 0.7):
        command = [sys.executable, size.__file__, "2048", str(tau)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        print(
            f"a Gaussian kernel 2048x2048x3x3 at energy {tau}: at most "
            f"{float(answer.stdout):.1f} times its memory above the model"
        )


if __name__ == "__main__":
    sys.exit(main())
