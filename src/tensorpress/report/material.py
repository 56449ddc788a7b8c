"""What a run, the output of ``compress`` or a file says of itself, read without its weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensorpress import artifacts
from tensorpress.artifacts import LayerEntry
from tensorpress.compression import Request
from tensorpress.counted import counted
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path
from tensorpress.graphs import GRAPH, is_graph_file
from tensorpress.report.account import AccountRecord, read_account
from tensorpress.report.command import Command, repeat_compress, repeat_run
from tensorpress.report.json_values import inside, number, read_object, read_rows, whole
from tensorpress.settings import flat
from tensorpress.surgery import tally
from tensorpress.training.curves import Epoch
from tensorpress.training.metrics import NUMBERS, read_metrics
from tensorpress.training.run_folder import (
    BASELINE,
    COMMAND,
    COMPRESS,
    CONFIG,
    CONTROL,
    FINETUNE,
    METRICS,
    MODEL,
    PHASES,
    SUMMARY,
)
from tensorpress.training.stages import COMPRESSED

ACCOUNT, RESULTS = "account.json", "results.json"
EXPECTED = {
    "run": (BASELINE, COMPRESS, FINETUNE),
    "train": (BASELINE,),
    "finetune": (FINETUNE,),
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Score:
    """An accuracy in percent, and the number of images behind it where that is known."""

    label: str
    percent: float
    images: int | None

    @property
    def stderr(self) -> float | None:
        """Standard error sqrt(p (1 - p) / n), in points."""
        if not self.images:
            return None
        part = min(max(self.percent / 100, 0.0), 1.0)
        return 100 * math.sqrt(part * (1 - part) / self.images)


@dataclass(frozen=True)
class Material:
    """All that is recorded.

    Attributes:
        path: what was given.
        kind: "run", "train", "finetune", "compress" or "file".
        network, data: their names; None where they are not recorded.
        unfinished: what is still to come, in words; None for what is finished.
        before, after: accuracy of the dense network and of the last one.
        untuned: accuracy right after compression; control: of the baseline trained on as long.
        costs: (params, MACs) of the dense network, and of the compressed one.
        account: as recorded; None where no file holds it.
        request: what the compression was asked for; None where that cannot be told.
        layers: the factorized layers of ``model_file``.
        epochs: every epoch so far, in order.
        model_file: the network that came of it so far, a .tp or an .onnx; None where there is none
            yet.
        input_shape: of an input without the batch, where no ``model_file`` tells.
        said: what else there is to know of the result, in sentences.
        dense_weights: weights of the baseline; None where there are none.
        command: what repeats it; None where that cannot be told.
        config: what was asked, flat, for people to read.
        versions: of what made it.
    """

    path: Path
    kind: str
    network: str | None = None
    data: str | None = None
    unfinished: str | None = None
    before: Score | None = None
    untuned: Score | None = None
    after: Score | None = None
    control: Score | None = None
    costs: tuple[tuple[int, int] | None, tuple[int, int] | None] = (None, None)
    account: AccountRecord | None = None
    request: Request | None = None
    layers: Mapping[str, LayerEntry] = field(default_factory=dict)
    epochs: tuple[Epoch, ...] = ()
    model_file: Path | None = None
    input_shape: tuple[int, ...] | None = None
    said: tuple[str, ...] = ()
    dense_weights: Path | None = None
    command: Command | None = None
    config: Mapping[str, object] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_calibrated(self) -> bool:
        """Whether images said what layers lose."""
        return self.request is not None and self.request.calibration is not None


def read_material(path: Path) -> Material:
    """Read the folder of a run, the output folder of ``compress``, or a model.tp.

    Raises:
        TensorpressError: there is nothing, something else, or a damaged file.
    """
    path = as_path(path)
    if path.is_file():
        return _of_graph(path, path) if is_graph_file(path) else _of_file(path, "file")
    if not path.exists():
        raise TensorpressError(
            f"there is no {path}: give the folder of a run, the -o folder of compress, or a "
            "model.tp."
        )
    config = read_object(path / CONFIG)
    if config is not None:
        kind = config.get("kind")
        if not isinstance(kind, str) or kind not in EXPECTED:
            raise TensorpressError(
                f"{path / CONFIG} is of no run of tensorpress: its kind is {shown(kind)}."
            )
        return _of_run(path, config, kind)
    if (path / MODEL).is_file():
        return _of_file(path / MODEL, "compress", path)
    if (path / GRAPH).is_file():
        return _of_graph(path / GRAPH, path)
    raise TensorpressError(
        f"{path} holds neither a run (config.json) nor a compressed network (model.tp, "
        f"{GRAPH}): give the folder of a run, the -o folder of compress, or a model.tp."
    )


def _of_file(model: Path, kind: str, folder: Path | None = None) -> Material:
    manifest = artifacts.read_manifest(model)
    written = folder and folder / ACCOUNT
    facts = (read_object(written) if written else None) or {}
    account = _account(manifest, model)
    if account is None and written and facts:
        account = read_account(facts, written)
    images = whole(facts.get("images"))
    recorded = account.request if account else {}
    request = _request(recorded)
    network = manifest.source.get("network")
    return Material(
        path=folder or model,
        kind=kind,
        network=network if isinstance(network, str) else None,
        before=_score("dense", facts.get("acc_baseline"), images),
        untuned=_score("compressed, not fine-tuned", facts.get("acc"), images),
        account=account,
        request=request,
        layers=manifest.layers,
        model_file=model,
        command=_typed(facts.get(COMMAND))
        or (repeat_compress(request, manifest.source) if request else None),
        config=flat({"request": dict(recorded), "source": manifest.source}),
        versions={"tensorpress": manifest.tool},
    )


def _of_graph(graph: Path, given: Path) -> Material:
    """Of an ONNX file, with what compress wrote beside it."""
    written = graph.with_name(ACCOUNT)
    facts = read_object(written)
    if facts is None:
        raise TensorpressError(
            f"{graph} says nothing of how it was made, and there is no {ACCOUNT} beside it: give "
            "the -o folder of compress."
        )
    account = read_account(facts, written)
    images, shape = whole(facts.get("images")), facts.get("input_shape")
    network = facts.get("network")
    shape = shape if isinstance(shape, list) and all(map(whole, shape)) else None
    return Material(
        path=given,
        kind="compress",
        network=network if isinstance(network, str) else None,
        before=_score("dense", facts.get("acc_baseline"), images),
        untuned=_score("compressed, not fine-tuned", facts.get("acc"), images),
        account=account,
        request=_request(account.request),
        layers={
            row.name: LayerEntry(row.method, row.ranks or ())
            for row in account.layers
            if row.method is not None
        },
        model_file=graph,
        input_shape=None if shape is None else tuple(shape),
        said=_of_outputs(facts),
        command=_typed(facts.get(COMMAND)),
        config=flat({"request": dict(account.request)}),
    )


def _of_outputs(facts: Json) -> tuple[str, ...]:
    """How far the outputs of a graph moved, and what of it was left."""
    found = []
    outputs, left = facts.get("outputs"), facts.get("left")
    for output in outputs if isinstance(outputs, list) else ():
        name, error = inside(output, "name"), number(inside(output, "error"))
        inputs, agreement = whole(inside(output, "inputs")), number(inside(output, "agreement"))
        if isinstance(name, str) and error is not None and inputs is not None:
            same = "" if agreement is None else f" and has the same class in {agreement:.2%}"
            found.append(
                f"On {counted(inputs, 'inputs')}, those that it was calibrated on where there are "
                f"any, the output '{name}' is off by {error:.2g} of its spread{same}."
            )
    if isinstance(left, dict) and left:
        reasons = [reason for reason in left.values() if isinstance(reason, str)]
        found.append(f"Left in the graph: {tally(reasons, counted(len(left), 'nodes'))}.")
    return tuple(found)


def _of_run(folder: Path, config: Json, kind: str) -> Material:
    phases = read_object(folder / PHASES) or {}
    summary = read_object(folder / SUMMARY)
    model = next((folder / n for n in (MODEL, COMPRESSED) if (folder / n).is_file()), None)
    manifest = artifacts.read_manifest(model) if model else None
    images = whole(inside(phases, BASELINE, "images")) or whole(inside(phases, FINETUNE, "images"))
    trained = inside(phases, BASELINE, "acc") or inside(summary, "acc_baseline")
    untuned = inside(phases, COMPRESS, "acc") or inside(summary, "acc_before_finetune")
    asked = inside(config, "compression")
    rows = read_rows(folder / RESULTS) if kind == "run" else []
    recorded = config.pop(COMMAND, None) or (rows[0].get("command") if rows else None)
    dense = folder / f"{BASELINE}.pt"
    versions = inside(summary, "versions")
    if not isinstance(versions, dict):
        versions = {"tensorpress": manifest.tool} if manifest else {}
    account = _account(manifest, model) if manifest and model else None
    return Material(
        path=folder,
        kind=kind,
        network=_text(inside(config, "network", "name")),
        data=_text(inside(config, "data", "name")),
        unfinished=None if summary else _unfinished(folder, config, kind, phases),
        before=_score("baseline", trained, images),
        untuned=_score("compressed, not fine-tuned", untuned, images),
        after=_score("compressed and fine-tuned", inside(phases, FINETUNE, "acc"), images),
        control=_score("baseline trained on as long", inside(phases, CONTROL, "acc"), images),
        costs=(
            _cost(inside(phases, BASELINE)),
            _cost(inside(phases, COMPRESS)) or (_cost(summary) if kind == "finetune" else None),
        ),
        account=account,
        request=_request(asked if isinstance(asked, dict) else account.request if account else {}),
        layers=manifest.layers if manifest else {},
        epochs=_epochs(folder / METRICS),
        model_file=model,
        dense_weights=dense if dense.is_file() else None,
        command=_typed(recorded) or repeat_run(config, kind),
        config=flat(config),
        versions={str(name): str(version) for name, version in versions.items()},
    )


def _request(recorded: Mapping[str, Any]) -> Request | None:
    try:
        return Request.from_dict(recorded) if recorded else None
    except TensorpressError:
        return None


def _typed(recorded: Any) -> Command | None:
    return Command(recorded, recorded=True) if isinstance(recorded, str) else None


def _account(manifest: artifacts.Manifest, path: Path) -> AccountRecord | None:
    return None if manifest.account is None else read_account(manifest.account, path)


def _unfinished(folder: Path, config: Json, kind: str, phases: Json) -> str:
    expected = EXPECTED[kind] + ((CONTROL,) if config.get("dense_control") is True else ())
    waiting = [phase for phase in expected if phase not in phases]
    if not waiting:
        return "Every phase is done; only its summary is not written yet."
    done = sum(epoch.phase == waiting[0] for epoch in _epochs(folder / METRICS))
    planned = inside(config, "train" if waiting[0] == BASELINE else "finetune", "epochs")
    where = f" ({done} of {planned} epochs done)" if waiting[0] != COMPRESS else ""
    others = f", then {' and '.join(waiting[1:])}" if waiting[1:] else ""
    return f"Still to do: {waiting[0]}{where}{others}."


def _epochs(path: Path) -> tuple[Epoch, ...]:
    try:
        lines = read_metrics(path)
    except (OSError, ValueError, RecursionError) as error:
        raise TensorpressError(f"{path} cannot be read ({error}): it is damaged.") from error
    return tuple(
        Epoch(line["phase"], epoch, *(number(line.get(key)) for key in NUMBERS))
        for line in lines
        if isinstance(line["phase"], str) and (epoch := whole(line["epoch"])) is not None
    )


def _score(label: str, percent: Any, images: int | None) -> Score | None:
    value = number(percent)
    return None if value is None else Score(label, value, images)


def _cost(facts: Any) -> tuple[int, int] | None:
    params, macs = whole(inside(facts, "params")), whole(inside(facts, "macs"))
    return None if params is None or macs is None else (params, macs)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
