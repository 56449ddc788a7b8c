"""Compressed networks against dense ones in every runtime: the table of ``make bench-speed``."""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import torch

import tensorpress as tp
from tensorpress.deploy import RUNTIMES, Benchmark, benchmark
from tensorpress.deploy.execution import factorized_layers, work_of
from tensorpress.deploy.latency import interleaved_times
from tensorpress.deploy.planning.table import PlanTable
from tensorpress.deploy.runtimes.processor import processor
from tensorpress.surgery import Account

SHAPE = (3, 32, 32)
BATCHES = {"vggnet": (1, 32), "resnet56": (1, 128)}
RATIOS = {"vggnet": (None, 3), "resnet56": (4, 4)}
SIDE, COPIED = 1536, 64 * 2**20
ROUNDS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", default="vggnet,resnet56", help="of them")
    parser.add_argument("--weights", help="trained weights of resnet56; its ranks follow them")
    parser.add_argument("--runtimes", default=",".join(RUNTIMES))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--seconds", type=float, default=6.0, help="to measure each row")
    parser.add_argument("--method", help="of the layers; auto with a budget of time tries all")
    parser.add_argument(
        "--speedup", type=float, help="networks are also to be so fast, in their larger batch"
    )
    parser.add_argument("--speedup-in", default="openvino", help="the runtime of --speedup")
    parser.add_argument("--skip-planning", action="store_true", help="do not time ResNet-110")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    runtimes = args.runtimes.split(",")
    threads = [int(count) for count in args.threads.split(",")]
    print(f"{processor()}, Python {platform.python_version()}, torch {torch.__version__}\n")
    content: dict[str, Any] = {}
    for name in args.nets.split(","):
        dense, account = compressed(name, args)
        print(f"{name}: PCR {account.pcr:.2f}, FCR {account.fcr:.2f}", flush=True)
        batches = BATCHES[name]
        found = benchmark(
            dense,
            account.model,
            SHAPE,
            runtimes=runtimes,
            batches=batches,
            threads=threads,
            seconds=args.seconds,
            cache=False,
        )
        print(found)
        roofs = list(best_over_runtimes(found, account.model, batches, threads))
        print("\n".join(line for line, _ in roofs), end="\n\n")
        content[name] = {
            "pcr": account.pcr,
            "fcr": account.fcr,
            "cells": [cell.to_dict() for cell in found.cells],
            "best": [facts for _, facts in roofs],
        }
    if not args.skip_planning:
        content["planning"] = [planning_time(name) for name in runtimes]
    if args.json:
        args.json.write_text(json.dumps(content, indent=1) + "\n")


def compressed(name: str, args: argparse.Namespace) -> tuple[torch.nn.Module, Account]:
    """The network and its compression at the ratios that the table is about."""
    torch.manual_seed(0)
    net = getattr(tp.networks, name)().eval()
    if name == "resnet56" and args.weights:
        tp.load_weights(net, args.weights)
    params, macs = RATIOS[name]
    budget = tp.Budget(
        params, macs, args.speedup, runtime=args.speedup_in, threads=1, batch=BATCHES[name][-1]
    )
    image = torch.zeros(1, *SHAPE)
    return net, tp.compress(net, image, budget=budget, method=args.method)


def best_over_runtimes(
    found: Benchmark, model: torch.nn.Module, batches: tuple[int, ...], threads: list[int]
) -> Iterator[tuple[str, dict[str, float]]]:
    """The dense network on its best runtime against the planned one on its best, with a roof."""
    for count in threads:
        flops, bandwidth = machine(count)
        for batch in batches:
            cells = [c for c in found.cells if (c.batch, c.threads) == (batch, count)]
            base = min(cells, key=lambda cell: cell.baseline.median)
            best = min(cells, key=lambda cell: cell.planned.median)
            roof = roofline(model, best.table, batch, flops, bandwidth)
            ratio = base.baseline.median / best.planned.median
            yield (
                f"best of all, batch {batch}, threads {count}: {base.runtime} "
                f"{1e3 * base.baseline.median:.2f} ms -> {best.runtime} "
                f"{1e3 * best.planned.median:.2f} ms: {ratio:.2f}x; roof {1e3 * roof:.2f} ms at "
                f"{flops / 1e9:.0f} GFLOP/s and {bandwidth / 1e9:.1f} GB/s",
                {
                    "batch": batch,
                    "threads": count,
                    "ratio": ratio,
                    "roof_seconds": roof,
                    "flops": flops,
                    "bandwidth": bandwidth,
                },
            )


def machine(threads: int) -> tuple[float, float]:
    """Floating-point operations and bytes a second: a matrix product, and a copy in memory."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    left, right = torch.randn(SIDE, SIDE), torch.randn(SIDE, SIDE)
    source, target = torch.zeros(COPIED // 4), torch.empty(COPIED // 4)
    times = interleaved_times(
        [lambda: torch.mm(left, right), lambda: target.copy_(source)], rounds=ROUNDS
    )
    torch.set_num_threads(before)
    return 2 * SIDE**3 / median(times[0]), 2 * COPIED / median(times[1])


def roofline(
    model: torch.nn.Module, table: PlanTable, batch: int, flops: float, bandwidth: float
) -> float:
    """Seconds that the machine needs for the plan: each layer's work or traffic, the slower."""
    cost = tp.count(model, torch.zeros(batch, *SHAPE))
    chains = factorized_layers(model)
    chosen = {row.name: row.chosen for row in table.rows}
    seconds = 0.0
    for name, layer in cost.layers.items():
        for shape in layer.inputs:
            macs, moved = layer.macs, 0
            if name in chains:
                macs, moved = work_of(list(chains[name]), chosen[name], shape)
            seconds += max(2 * macs / flops, 4 * moved / bandwidth)
    return seconds


def planning_time(runtime: str) -> dict[str, object]:
    """Seconds to plan a compressed ResNet-110 with an empty cache and with a full one."""
    net = tp.networks.resnet110().eval()
    inputs = torch.zeros(1, *SHAPE)
    model = tp.compress(net, inputs, budget=tp.Budget(params=4, macs=4)).model
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in ("empty", "full"):
            start = time.perf_counter()
            tp.plan(model, inputs, runtime=runtime, threads=1, cache=folder)
            seconds.append(time.perf_counter() - start)
    print(f"planning ResNet-110 for {runtime}: {seconds[0]:.1f} s, again {seconds[1]:.1f} s")
    return {"runtime": runtime, "empty": seconds[0], "full": seconds[1]}


if __name__ == "__main__":
    main()
