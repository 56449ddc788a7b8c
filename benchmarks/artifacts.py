"""How large files of compressed networks are, how fast they load, and how equal exports are.

    make bench-artifacts
    .venv/bin/python benchmarks/artifacts.py --weights resnet56=FILE --weights vggnet=FILE

ResNet-56 is compressed at Energy(0.8), VGGnet at Energy(0.6); without --weights they are random
ones, which compress less than trained ones. Times are medians, of files that the page cache holds;
a load fills a network that is already built. `exact` compares what was loaded bit for bit with
what was saved, for half precision with its rounding.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.progress import track

ENERGIES = {"resnet56": 0.8, "vggnet": 0.6}
FORMATS = {"ONNX Runtime": "model.onnx", "OpenVINO": "model.xml", "torch.export": "model.pt2"}
State = Mapping[str, Tensor]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--weights", action="append", default=[], metavar="NET=FILE")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    weights = dict(text.split("=", 1) for text in options.weights)
    if unknown := weights.keys() - ENERGIES.keys():
        parser.error(f"no network {', '.join(unknown)}; there are: {', '.join(ENERGIES)}")
    console = Console(width=100)
    for name, energy in ENERGIES.items():
        torch.manual_seed(0)
        dense = tp.networks.build(name).eval()
        trained = weights.get(name)
        if trained is not None:
            tp.load_weights(dense, trained)
        result = tp.compress(dense, torch.zeros(1, 3, 32, 32), rank=tp.Energy(energy))
        kind = f"trained ({Path(trained).name})" if trained is not None else "random weights"
        title = f"{name}, {kind}, Energy({energy}): PCR {result.pcr:.2f}, FCR {result.fcr:.2f}"
        with tempfile.TemporaryDirectory() as folder:
            console.print(files(name, title, dense, result.model, Path(folder), options.rounds))
            console.print(exports(result.model, Path(folder)))
    console.print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"medians of {options.rounds} rounds; load average {os.getloadavg()[0]:.1f}"
    )


def files(
    name: str, title: str, dense: nn.Module, small: nn.Module, folder: Path, rounds: int
) -> Table:
    """A row a file: of the dense network as people save it, and of the compressed one."""

    def save_torch(path: Path) -> None:
        torch.save(dense.state_dict(), path)

    def load_torch(path: Path, net: nn.Module) -> None:
        net.load_state_dict(torch.load(path, weights_only=True))

    def save_safetensors(path: Path) -> None:
        safetensors.torch.save_file(dense.state_dict(), path)

    def load_safetensors(path: Path, net: nn.Module) -> None:
        net.load_state_dict(safetensors.torch.load_file(path))

    def save_half(path: Path) -> None:
        tp.save(small, path, dtype=torch.float16)

    def load(path: Path, net: nn.Module) -> None:
        tp.load(path, into=net)

    half = {
        key: value.half().float() if value.is_floating_point() else value
        for key, value in small.state_dict().items()
    }
    dense_state, small_state = dense.state_dict(), small.state_dict()
    cases = {
        "dense .th": (save_torch, load_torch, dense_state),
        "dense safetensors": (save_safetensors, load_safetensors, dense_state),
        "model.tp float32": (lambda path: tp.save(small, path), load, small_state),
        "model.tp float16": (save_half, load, half),
    }
    table = Table("file", "bytes", "times smaller", "save, ms", "load, ms", "exact", title=title)
    first = None
    for label, (save, read, state) in cases.items():
        size, saving, loading, exact = measure(name, save, read, state, folder / "file", rounds)
        first = first or size
        numbers = (f"{size:,}", f"{first / size:.2f}", f"{saving:.1f}", f"{loading:.1f}")
        table.add_row(label, *numbers, "yes" if exact else "NO")
    return table


def measure(
    name: str,
    save: Callable[[Path], None],
    load: Callable[[Path, nn.Module], None],
    state: State,
    path: Path,
    rounds: int,
) -> tuple[int, float, float, bool]:
    """Bytes, median milliseconds of saving and loading, and whether all loads were exact."""
    times: list[tuple[float, float]] = []
    exact = True
    for _ in track(range(rounds), name):
        net = tp.networks.build(name).eval()
        start = time.perf_counter()
        save(path)
        middle = time.perf_counter()
        load(path, net)
        times.append((middle - start, time.perf_counter() - middle))
        exact = exact and equal_bits(net.state_dict(), state)
    saving, loading = (1000 * statistics.median(column) for column in zip(*times, strict=True))
    return path.stat().st_size, saving, loading, exact


def equal_bits(found: State, expected: State) -> bool:
    """Whether both hold the same tensors, of the same dtypes and bytes."""

    def raw(value: Tensor) -> bytes:
        return value.contiguous().numpy().tobytes()

    return found.keys() == expected.keys() and all(
        found[key].dtype == expected[key].dtype and raw(found[key]) == raw(expected[key])
        for key in expected
    )


def exports(net: nn.Module, folder: Path) -> Table:
    """A row a format: size, time and the worst difference on random images."""
    table = Table("export", "bytes", "seconds", "worst difference")
    images = torch.randn(16, 3, 32, 32)
    for label, file in FORMATS.items():
        start = time.perf_counter()
        report = tp.export(net, folder / file, images[:1], check_inputs=images)
        seconds = f"{time.perf_counter() - start:.1f}"
        version = report.versions.get(label.lower().replace(" ", ""), torch.__version__)
        label = f"{label} {version}"
        table.add_row(label, f"{report.bytes:,}", seconds, f"{report.worst:.1e}")
    return table


if __name__ == "__main__":
    main()
