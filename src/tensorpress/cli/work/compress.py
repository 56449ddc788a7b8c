"""``tensorpress compress``."""

import contextlib
import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from typer import Context

from tensorpress import artifacts, compression, deploy
from tensorpress.choices import INT8
from tensorpress.cli import graphs, options, request_options
from tensorpress.cli.command_line import command_line
from tensorpress.cli.inputs import (
    Inputs,
    read_calibration,
    read_network,
    required_net,
    warn_if_as_made,
)
from tensorpress.cli.options import Trained
from tensorpress.cli.output import output_folder
from tensorpress.cli.printer import Printer
from tensorpress.compression import Recovery, Request
from tensorpress.compression.checks import starts_at_random
from tensorpress.compression.pruning import Criterion
from tensorpress.data import Dataset, unlabelled_of
from tensorpress.errors import TensorpressError
from tensorpress.files import as_path, printable, write_whole
from tensorpress.graphs import GRAPH, is_graph_file, read_graph_network
from tensorpress.layers import Treatment
from tensorpress.networks import NETWORKS
from tensorpress.report.json_values import read_object
from tensorpress.request import read_recovery
from tensorpress.surgery import Account, Precision
from tensorpress.training import (
    MOST_TO_JUDGE,
    TUNED_FOR,
    AccuracyApart,
    Place,
    epochs_before,
    evaluate,
    find_place,
)
from tensorpress.training.logits import require_answers

MODEL = "model.tp"
ACCOUNT = ("account.json", "account.txt")
STORED_AS = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def compress(
    *,
    net: str | None,
    trained: options.Trained,
    compressed: Path | None,
    asked: Request,
    images: options.DataOptions,
    input_dtype: str | None,
    calibrate: str | None,
    calibration_images: int,
    recover: bool,
    seed: int | None,
    device: str | None,
    config: Path | None,
    output: Path | None,
    store_as: str | None,
    written: graphs.Written,
    dry_run: bool,
    context: Context,
    printer: Printer,
) -> None:
    net = required_net(net) if compressed is None else net
    treated = request_options.check_asked(asked)
    most, how = request_options.calibration_asked(context, asked, calibration_images, recover)
    needs_score = asked.budget is not None and asked.budget.needs_score
    if needs_score and images.data is None:
        raise TensorpressError(
            f"{asked.budget} is of accuracy: give images with labels by --data, of which training "
            "images are held back to measure it on."
        )
    if asked.calibration is not None and calibrate is None and not needs_score:
        raise TensorpressError(
            f"--config {config} asks for calibration on {asked.calibration.images} images: give "
            "some with --calibrate."
        )
    if seed is not None:
        if calibrate is None and not needs_score:
            raise TensorpressError(
                f"--seed {seed} is of calibration: give --calibrate, or leave it out."
            )
        how = dataclasses.replace(read_recovery(how), seed=seed)
    stored = _dtype_to_store(store_as)
    of_graph = compressed is None and is_graph_file(net)
    if of_graph:
        graphs.refuse_of_networks(store_as=store_as, device=device, ema=trained.ema)
    else:
        written.refuse_of_networks()
    place = find_place(device)
    files = (GRAPH if of_graph else MODEL, *ACCOUNT)
    with output_folder(output, files, dry_run=dry_run):
        inputs, network = read_network(
            compressed,
            trained,
            net=net,
            **images.given(),
            input_dtype=input_dtype,
            calibrate=calibrate,
            layout=written.layout,
            several=True,
        )
        _refuse_another(output, inputs.net)
        if of_graph:
            _refuse_others_graph(output)
        if inputs.data is not None:
            require_answers(network, inputs.data, torch.device("cpu"))
        unlabelled, score = _calibration(asked, inputs, calibrate, most, images.data)
        if of_graph and dry_run:
            target = None if output is None else output / GRAPH
            prospect = compression.foresee_onnx(
                inputs.net,
                target,
                asked,
                calibration=unlabelled,
                input_shape=inputs.shape or None,
                recover=how,
                score=score,
                **graphs.how_written(asked, written),
            )
            printer.foreseen(prospect, _paths(output, files))
            return
        if of_graph:
            _compress_graph(
                inputs, network, output, unlabelled, score, asked, how, written, printer
            )
            return
        where = place.device if unlabelled is not None or device else torch.device("cpu")
        network = network.to(where)
        example = inputs.example(device=where)
        if dry_run:
            prospect = compression.foresee(
                network, example, asked, calibration=unlabelled, recover=how, score=score
            )
            printer.foreseen(prospect, _paths(output, files))
            return
        result = compression.compress(
            network,
            example,
            calibration=unlabelled,
            recover=how,
            score=score,
            **asked.arguments(),
        )
        printer.result(str(result))
        if compressed is None:
            warn_if_as_made(inputs, trained, printer)
        if score is not None:
            printer.result(f"drop: of the {score}")
        if output is not None:
            source = inputs.source(trained if compressed is None else None)
            if compressed is not None and (tuned_for := epochs_before(compressed)):
                source[TUNED_FOR] = tuned_for
            artifacts.save(result, output / MODEL, dtype=stored, source=source)
        facts = {"command": command_line(), "network": inputs.net}
        _tell_account(output, result, facts, (network, result.model), inputs, place, printer)
        if output is not None:
            printer.written(output / MODEL)
    is_changed = any(row.method for row in result.layers)
    hints = _hints(treated, unlabelled is not None) if is_changed else []
    printer.note(_next(inputs, output, images.data, trained, hints))
    if result.precision is not None and output is not None:
        printer.note(_export(inputs, output, calibrate, result.precision))


def _dtype_to_store(name: str | None) -> torch.dtype | None:
    """The dtype to store weights in, None to store them as they are."""
    if name is None:
        return None
    if name not in STORED_AS:
        raise TensorpressError(f"--store-as {name}: give {' or '.join(STORED_AS)}.")
    return STORED_AS[name]


def _compress_graph(
    inputs: Inputs,
    network: nn.Module,
    output: Path | None,
    unlabelled: Tensor | dict[str, Tensor] | None,
    score: AccuracyApart | None,
    asked: Request,
    how: bool | Recovery,
    written: graphs.Written,
    printer: Printer,
) -> None:
    """The same for a file of ONNX, which stays one."""
    result = compression.compress_onnx(
        inputs.net,
        None if output is None else output / GRAPH,
        calibration=unlabelled,
        input_shape=inputs.shape or None,
        recover=how,
        score=score,
        **graphs.arguments_of(asked, written),
    )
    printer.result(str(result))
    if score is not None:
        printer.result(f"drop: of the {score}")
    shape = inputs.shape
    if isinstance(unlabelled, Tensor):
        shape = tuple(unlabelled.shape[1:])
    facts = {"command": command_line(), "network": inputs.net, "input_shape": shape or None}
    small: nn.Module | None = result.model
    if result.int8 is not None:  # which the file alone is in
        small = None if output is None else read_graph_network(output / GRAPH)
    _tell_account(output, result, facts, (network, small), inputs, find_place("cpu"), printer)
    if any(row.method for row in result.layers):
        printer.note(f"\n{graphs.UNCALIBRATED if unlabelled is None else graphs.CLOSED_FORM}")
    if output is None:
        printer.note("Nothing was written: give -o OUT to keep the file.")
        return
    printer.written(output / GRAPH)
    if not isinstance(unlabelled, dict):  # what takes several inputs is not timed by a command
        printer.note(_bench(inputs, output / GRAPH, shape))


def _paths(output: Path | None, files: Sequence[str]) -> list[Path]:
    return [] if output is None else [output / name for name in files]


def _refuse_another(output: Path | None, net: str) -> None:
    """Raise where the folder holds what another network was compressed to.

    Raises:
        TensorpressError: it names both networks.
    """
    if output is None:
        return
    for other in _networks_held(output):
        if other != net and Path(other).resolve() != Path(net).resolve():
            raise TensorpressError(
                f"-o {output} holds what '{printable(other)}' was compressed to, and this is "
                f"'{net}': give another folder, or delete that one."
            )


def _networks_held(output: Path) -> list[str]:
    """Of which networks results lie there; what cannot be read is no loss."""
    named: list[object] = []
    with contextlib.suppress(TensorpressError):
        if (output / MODEL).exists():
            named.append(artifacts.read_manifest(output / MODEL).source.get("network"))
    with contextlib.suppress(TensorpressError):
        if (output / GRAPH).exists():  # which does not say itself what it was made from
            named.append((read_object(output / ACCOUNT[0]) or {}).get("network"))
    return [name for name in named if isinstance(name, str)]


def _refuse_others_graph(output: Path | None) -> None:
    """Raise where -o is no folder for a graph, or holds one that compress did not write.

    Raises:
        TensorpressError: it says which.
    """
    if output is None:
        return
    if output.suffix == ".onnx":
        raise TensorpressError(
            f"-o {output} is a folder, which gets {GRAPH} and the account: give a name "
            "that does not end in .onnx."
        )
    if (output / GRAPH).exists() and not (output / "account.json").exists():
        raise TensorpressError(
            f"-o {output} holds a {GRAPH} that is no result of compress: give another folder."
        )


def _calibration(
    asked: Request, inputs: Inputs, calibrate: str | None, most: int, data: str | None
) -> tuple[Tensor | dict[str, Tensor] | None, AccuracyApart | None]:
    """Images to calibrate on, and a score where the budget is of one.

    The score is the accuracy on training images that are held back. Calibration takes others: of
    --calibrate, or where that is left out or is the same data, of those.
    """
    if asked.budget is None or not asked.budget.needs_score:
        return read_calibration(calibrate, most, inputs), None
    assert inputs.data is not None
    assert data is not None
    score = AccuracyApart.of(inputs.data, MOST_TO_JUDGE)
    if calibrate is None or as_path(calibrate).resolve() == as_path(data).resolve():
        return unlabelled_of(score.data, most=most), score
    return read_calibration(calibrate, most, inputs), score


def _tell_account(
    output: Path | None,
    result: Account,
    facts: dict[str, Any],
    networks: tuple[nn.Module, nn.Module | None],
    inputs: Inputs,
    place: Place,
    printer: Printer,
) -> None:
    """Print and write the account with the facts, and where there are images with the accuracies of
    the networks, before and after.

    It is written before them too: they take long, and what lies there needs its account.
    """
    account = {**result.to_dict(), **facts}
    if inputs.data is not None:
        _write_account(output, result, account)
        before, after = networks
        if after is not None:
            account |= _accuracies(before, after, inputs.data, place, printer)
        else:
            printer.warning(
                "the accuracy in int8 is that of the file: give -o OUT to have it told."
            )
    _write_account(output, result, account)
    printer.values(account)


def _accuracies(
    network: nn.Module, compressed: nn.Module, data: Dataset, place: Place, printer: Printer
) -> dict[str, Any]:
    before = evaluate(network, data, place=place)
    after = evaluate(compressed, data, place=place)
    printer.result(f"accuracy {before} -> {after} on {after.images} test images, not fine-tuned")
    return {
        "acc_baseline": before.percent,
        "acc": after.percent,
        "stderr": after.stderr,
        "images": after.images,
    }


def _write_account(output: Path | None, result: Account, account: dict[str, Any]) -> None:
    if output is None:
        return
    as_json, as_text = ACCOUNT
    write_whole(output / as_json, json.dumps(account, indent=1) + "\n")
    write_whole(output / as_text, f"{result}\n")


def _hints(treated: Sequence[Treatment] | Criterion, calibrated: bool) -> list[str]:
    if calibrated:
        return ["Fine-tuning on labels goes on from here."]
    if starts_at_random(treated):
        return ["The replaced layers start at random: the network has to be trained."]
    return [
        "A compressed network loses accuracy until it is fine-tuned: a few epochs win most of it "
        "back.",
        "--calibrate DIR, with images that need no labels, keeps much of it from the start.",
    ]


def _bench(inputs: Inputs, written: Path, shape: Sequence[int] = ()) -> str:
    """The command that tells what was won in time; a graph may leave its shape to be said."""
    words = ["tensorpress", "bench"]
    words += [] if inputs.net in NETWORKS else ["--net", inputs.net]
    words += ["--compressed", str(written)]
    shape = shape or inputs.shape
    if is_graph_file(inputs.net) and shape:
        words += ["--input-shape", ",".join(map(str, shape))]
    return f"Its time: {shlex.join(words)}"


def _export(inputs: Inputs, output: Path, calibrate: str | None, chosen: Precision) -> str:
    """The command that writes what was chosen."""
    words = ["tensorpress", "export"]
    words += [] if inputs.net in NETWORKS else ["--net", inputs.net]
    words += ["--compressed", str(output / MODEL), "--planned", str(chosen.batch)]
    if chosen.name == INT8:
        words += ["--precision", INT8, "--calibrate", calibrate or "DIR"]
        words += [word for layer in chosen.in_float for word in ("--keep-float", layer)]
    suffix = deploy.RUNTIMES[chosen.runtime].suffix
    return f"As it was chosen: {shlex.join([*words, '-o', f'model{suffix}'])}"


def _next(
    inputs: Inputs, output: Path | None, data: str | None, trained: Trained, hints: list[str]
) -> str:
    if output is None:
        return "\n".join(["", *hints[-1:], "Nothing was written: give -o OUT to keep the network."])
    timed = _bench(inputs, output / MODEL)
    if not hints:  # nothing was changed that training could mend
        return f"\n{timed}"
    words = ["tensorpress", "finetune"]
    words += [] if inputs.net in NETWORKS else ["--net", inputs.net]
    words += ["--compressed", str(output / MODEL), "--data", data or "DIR"]
    if trained.weights is not None:
        words += ["--teacher", str(trained.weights), *trained.how_read()]
    command = shlex.join([*words, "--epochs", "10", "-o", "RUN"])
    return "\n".join(["", *hints, timed, f"Next: {command}"])
