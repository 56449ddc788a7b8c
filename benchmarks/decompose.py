"""TT-SVD of all kernels of VGGnet and of ResNet-110 against TensorLy's, at the same ranks.

    make bench-decompose

Both are timed in this process on one thread, kernel by kernel in turns; the time of a network is
the sum of its kernels' medians. Ranks are those that the energy threshold gives.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import tensorly
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tensorly.decomposition import tensor_train
from torch import Tensor, nn

from tensorpress import Energy, Ranks, networks, tt_svd

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "VGGnet": networks.vggnet,
    "ResNet-110": networks.resnet110,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="TT-SVD against TensorLy, one thread")
    parser.add_argument("--tau", type=float, nargs="+", default=[0.5, 0.6])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tensorly.set_backend("pytorch")
    table = Table(title="TT-SVD, seconds for all kernels but the first")
    for heading in ("network", "kernels", "tau", "TensorLy", "ours", "times faster", "worst error"):
        table.add_column(heading, justify="right")
    for tau in options.tau:
        totals = [0.0, 0.0]
        for name, make in NETWORKS.items():
            kernels = gaussian_kernels(make())
            rows = [
                compare(kernel, Energy(tau), options.rounds)
                for kernel in track(kernels, f"{name} at {tau}", transient=True)
            ]
            theirs, ours = sum(row[0] for row in rows), sum(row[1] for row in rows)
            totals = [totals[0] + theirs, totals[1] + ours]
            add_row(table, name, len(kernels), tau, theirs, ours, max(row[2] for row in rows))
        add_row(table, "both", 0, tau, totals[0], totals[1], 0.0)
    console = Console()
    console.print(table)
    console.print(
        "worst error: largest ratio of our relative error to TensorLy's over the kernels.\n"
        f"Gaussian weights, float32, 1 thread, median of {options.rounds} runs in turns; "
        f"torch {torch.__version__}, TensorLy {tensorly.__version__}, {platform.machine()}."
    )


def gaussian_kernels(net: nn.Module) -> list[Tensor]:
    """Gaussian tensors in the shapes of the shifted kernels (C, D1, D2, T), all but the first."""
    torch.manual_seed(0)
    convs = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    return [torch.randn(conv.weight.permute(1, 2, 3, 0).shape) for conv in convs[1:]]


def compare(kernel: Tensor, rule: Energy, rounds: int) -> tuple[float, float, float]:
    """Median seconds of TensorLy and of ours at the ranks of ``rule``, and the error ratio."""
    ranks = tt_svd(kernel, rule).ranks
    theirs, ours = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        reference: Any = tensor_train(kernel, [1, *ranks, 1])
        middle = time.perf_counter()
        train = tt_svd(kernel, Ranks(*ranks))
        theirs.append(middle - start)
        ours.append(time.perf_counter() - middle)
    ratio = error(kernel, train.to_tensor()) / error(kernel, tensorly.tt_to_tensor(reference))
    return statistics.median(theirs), statistics.median(ours), ratio


def error(kernel: Tensor, approximation: Tensor) -> float:
    return float((kernel.double() - approximation.double()).norm() / kernel.double().norm())


def add_row(
    table: Table, name: str, kernels: int, tau: float, theirs: float, ours: float, worst: float
) -> None:
    table.add_row(
        name,
        str(kernels or ""),
        f"{tau:g}",
        f"{theirs:.3f}",
        f"{ours:.3f}",
        f"{theirs / ours:.1f}",
        f"{worst:.6f}" if worst else "",
    )


if __name__ == "__main__":
    main()
