"""``tensorpress bench``."""

import json
from pathlib import Path
from typing import Any

from torch import nn

from tensorpress import artifacts
from tensorpress.charts import can_plot
from tensorpress.choices import ALL, INT8
from tensorpress.cli import options
from tensorpress.cli.inputs import read_calibration, read_compressed_inputs, read_inputs
from tensorpress.cli.output import output_folder
from tensorpress.cli.printer import Printer
from tensorpress.compression.graph.request import RUNTIMES as GRAPH_RUNTIMES
from tensorpress.deploy import RUNTIMES, Benchmark, benchmark
from tensorpress.deploy.benchmark_chart import plot_benchmark
from tensorpress.deploy.int8.calibration import MOST
from tensorpress.deploy.planning.setting import read_precision
from tensorpress.errors import TensorpressError
from tensorpress.files import write_atomically, write_whole
from tensorpress.graphs import GRAPH, files_of, is_graph_file, read_graph_network
from tensorpress.surgery.state import held_bytes

FILES = ("bench.json", "bench.txt", "bench.png")


def bench(
    *,
    compressed: Path | None,
    net: str | None,
    runtimes: str,
    batches: str,
    threads: str,
    precisions: str,
    calibrate: str | None,
    layers: bool,
    seconds: float,
    cache: bool,
    input_shape: str | None,
    input_dtype: str | None,
    classes: int | None,
    output: Path | None,
    printer: Printer,
) -> None:
    if compressed is None:
        written = GRAPH if is_graph_file(net) else "model.tp"
        raise TensorpressError(f"--compressed is missing: give the {written} that compress wrote.")
    asked = [read_precision(name) for name in options.read_names(precisions)]
    if (INT8 in asked) != (calibrate is not None):
        raise TensorpressError("--precisions int8 and --calibrate DIR go together: give both.")
    of_graph = is_graph_file(compressed)
    all_names = GRAPH_RUNTIMES if of_graph else tuple(RUNTIMES)
    names = all_names if runtimes == ALL else tuple(options.read_names(runtimes))
    with output_folder(output, FILES):
        if of_graph and not is_graph_file(net):
            raise TensorpressError(
                f"{compressed} is measured beside the file that it was made of: give that as --net."
            )
        named: dict[str, Any] = {"net": net, "input_shape": input_shape, "classes": classes}
        named |= {"data": None, "mean": None, "std": None, "calibrate": calibrate}
        named |= {"input_dtype": input_dtype}
        if of_graph:
            inputs = read_inputs(**named)
            small: nn.Module = read_graph_network(compressed)
        else:
            inputs = read_compressed_inputs(compressed, **named)
            small = artifacts.load(compressed, into=inputs.build()).eval()
        dense = inputs.build().eval()
        found = benchmark(
            dense,
            small,
            inputs.shape,
            runtimes=names,
            batches=_counts(batches, "--batches"),
            threads=_counts(threads, "--threads"),
            precisions=tuple(asked),
            calibration=read_calibration(calibrate, MOST, inputs),
            seconds=seconds,
            cache=cache,
            input_dtype=inputs.dtype,
        )
        if layers:
            for cell in found.cells:
                printer.result(f"{cell.table}\n")
        printer.result(str(found))
        sizes = _sizes(dense, compressed)
        content = {
            "cells": [cell.to_dict() for cell in found.cells],
            "missing": dict(found.missing),
            "bytes": sizes,
        }
        printer.values(content)
        printer.result(
            f"file: {sizes['dense']:,} bytes of dense weights -> {sizes['file']:,} bytes"
        )
        printer.result(_verdict(found))
        if output is not None:
            _write(output, found, content)
            printer.written(output)


def _counts(text: str, option: str) -> tuple[int, ...]:
    numbers = options.read_numbers(text, option, "1,32")
    if any(number < 1 or not number.is_integer() for number in numbers):
        raise TensorpressError(f"{option} {text}: give whole numbers from 1 on, such as 1,32.")
    return tuple(dict.fromkeys(map(int, numbers)))


def _sizes(dense: Any, compressed: Path) -> dict[str, int]:
    files = files_of(compressed) if is_graph_file(compressed) else [compressed]
    return {"dense": held_bytes(dense), "file": sum(file.stat().st_size for file in files)}


def _verdict(found: Benchmark) -> str:
    if found.slower:
        where = ", ".join(
            f"{c.runtime} {c.precision} batch {c.batch} threads {c.threads}" for c in found.slower
        )
        return f"SLOWER than the dense network, or than it is stored: {where}"
    least = min(found.cells, key=lambda cell: cell.least_ratio)
    return (
        f"nowhere slower; the least is {least.least_ratio:.2f}x, {least.runtime} "
        f"{least.precision} batch {least.batch}"
    )


def _write(output: Path, found: Benchmark, content: dict[str, Any]) -> None:
    values, text, chart = FILES
    write_whole(output / values, json.dumps(content, indent=1) + "\n")
    tables = "\n\n".join(str(cell.table) for cell in found.cells)
    write_whole(output / text, f"{found}\n\n{tables}\n")
    if can_plot():
        write_atomically(output / chart, lambda path: plot_benchmark(found, path))
