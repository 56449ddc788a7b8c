"""A run is a folder: what was asked, what was measured, where it stands, and what came of it."""

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tensorpress.errors import TensorpressError, shown
from tensorpress.files import (
    LOCK,
    locked,
    read_json,
    refuse_unwritable,
    remove_leftovers,
    write_atomically,
    write_whole,
)
from tensorpress.settings import flat, is_number
from tensorpress.training.checkpoint import read_checkpoint, write_checkpoint
from tensorpress.training.metrics import append_metrics, keep_metrics, read_metrics
from tensorpress.training.place import Place
from tensorpress.training.run_config import up_to_date

CONFIG, METRICS, PHASES, SUMMARY = "config.json", "metrics.jsonl", "phases.json", "summary.json"
COMMAND = "command"
"""The key of the configuration that does not set a run apart."""
LAST, BEST, MODEL, CURVES = "last.pt", "best.pt", "model.tp", "curves.png"
BASELINE, COMPRESS, FINETUNE, CONTROL = "baseline", "compress", "finetune", "dense_control"
TRAINED, COST = ("epochs", "acc", "stderr", "images"), ("params", "macs")
FOUND = {
    BASELINE: (*TRAINED, *COST),
    COMPRESS: ("pcr", "fcr", *COST, "acc"),
    FINETUNE: TRAINED,
    CONTROL: TRAINED,
}
"""The numbers that are known of a finished phase; ``TRAINED`` are known of a finished run too."""
COMPARED = (
    *("pcr", "fcr", "acc_baseline", "acc_before_finetune", "acc_dense_control"),
    *("dacc", "dacc_vs_control", "gained"),
)
"""The numbers of a finished run that are known of some."""
Json = dict[str, Any]


@contextlib.contextmanager
def open_run(
    folder: Path, config: Json, place: Place, command: str | None = None
) -> Iterator["RunFolder"]:
    """Open ``folder`` for the run that ``config`` describes, new or to go on with, and lock it.

    Of several processes only the main one touches the disk. A new run keeps the ``command`` that
    asks for it, which need not be the same to go on.

    Raises:
        TensorpressError: the folder holds other files, a run of another configuration (the first
            setting that differs is named), or is in use; or it cannot be written.
    """
    if not place.is_main:
        with tempfile.TemporaryDirectory() as copies:
            yield RunFolder(Path(copies), place)
        return
    _refuse_foreign(folder)
    with locked(folder):
        remove_leftovers(folder)
        _settle_config(folder, config, command)
        yield RunFolder(folder, place)


def check_run(folder: Path, config: Json, place: Place) -> "RunFolder":
    """The run in ``folder`` as it stands, to be looked at: nothing is locked or written.

    Raises:
        TensorpressError: what :func:`open_run` refuses, but for a folder in use.
    """
    _refuse_foreign(folder)
    refuse_unwritable(folder)
    _refuse_other(folder, config)
    return RunFolder(folder, place)


class RunFolder:
    """The files of one run; made by `open_run`, or by `check_run` to be read.

    In every process the answers are the same.
    """

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder, self.place = folder, place

    @property
    def summary(self) -> Json | None:
        """The summary of a finished run; None for one that is not finished."""
        return self.place.share(_read_summary(self.folder / SUMMARY))

    @property
    def phases(self) -> dict[str, Json]:
        """What each finished phase found, in the order of the phases."""
        return self.place.share(self._finished())

    def start_phase(self, phase: str) -> Json | None:
        """The checkpoint to go on from, None to start the phase; later metrics are cut off.

        Raises:
            TensorpressError: the checkpoint is damaged; the message says what there is instead.
        """
        return self.place.share(self._start_phase(phase) if self.place.is_main else None)

    def _start_phase(self, phase: str) -> Json | None:
        state = self._read_last(phase) if (self.folder / LAST).exists() else None
        if state is not None and state["phase"] != phase:
            state = None
        epochs_done = state["epochs_done"] if state else 0
        finished = self._finished()

        def wanted(line: Json) -> bool:
            return line["phase"] in finished or (
                line["phase"] == phase and line["epoch"] <= epochs_done
            )

        keep_metrics(self.folder / METRICS, wanted)
        return state

    def _finished(self) -> dict[str, Json]:
        path = self.folder / PHASES
        phases = _read_json(path) or {}
        for phase, names in FOUND.items():
            if phase in phases:
                _require_numbers(path, phases[phase], names)
        return phases

    def require(self, name: str) -> None:
        """Raise where a file that the run has left is gone.

        Raises:
            TensorpressError: it is.
        """
        there = self.place.share((self.folder / name).is_file() if self.place.is_main else True)
        if not there:
            raise TensorpressError(
                f"{self.folder / name} is gone, though the run has written it: restore it, or "
                "choose another folder."
            )

    def record_epoch(self, line: Json, state: Json, *, is_best: bool) -> None:
        """Add a line to the metrics, then write ``last.pt``, and ``best.pt`` where it is best."""
        if self.place.is_main:
            append_metrics(self.folder / METRICS, line)
            names = [BEST, LAST] if is_best else [LAST]
            write_checkpoint([self.folder / name for name in names], state)

    def record(self, state: Json) -> None:
        """Write ``last.pt`` in the middle of an epoch."""
        if self.place.is_main:
            write_checkpoint([self.folder / LAST], state)

    def best(self, phase: str) -> Json:
        """The checkpoint of the best epoch of ``phase``.

        Raises:
            TensorpressError: ``best.pt`` is damaged or of another phase.
        """
        return self.place.share(self._best(phase) if self.place.is_main else {})

    def _best(self, phase: str) -> Json:
        again = f"Delete {self.folder / LAST} to train the phase again."
        try:
            state = read_checkpoint(self.folder / BEST)
        except TensorpressError as error:
            raise TensorpressError(f"{error} {again}") from error
        if state["phase"] != phase:
            raise TensorpressError(
                f"{self.folder / BEST} is of phase '{state['phase']}', not '{phase}'. {again}"
            )
        return state

    def finish_phase(self, phase: str, facts: Json) -> None:
        """Note what the phase found; it is not done again."""
        if self.place.is_main:
            self._write_json(PHASES, {**self._finished(), phase: facts})
        self.place.share(None)

    def finish(self, summary: Json) -> None:
        """Write ``summary.json``, which marks the run as finished."""
        if self.place.is_main:
            self._write_json(SUMMARY, summary)
        self.place.share(None)

    def write(self, name: str, write: Callable[[Path], None]) -> None:
        """Write the file ``name`` aside, then rename it."""
        if self.place.is_main:
            write_atomically(self.folder / name, write)

    def write_whole(self, name: str, content: bytes) -> None:
        """Write ``content`` to the file ``name``, likewise."""
        if self.place.is_main:
            write_whole(self.folder / name, content)

    def file(self, name: str) -> Path:
        """The path of a file of the run; the other processes get a copy of it."""
        content = self.place.share(
            (self.folder / name).read_bytes()
            if self.place.world > 1 and self.place.is_main
            else b""
        )
        path = self.folder / name
        if not self.place.is_main:
            path.write_bytes(content)
        return path

    @property
    def metrics(self) -> list[Json]:
        """Every epoch of the run so far, as the main process sees it."""
        return read_metrics(self.folder / METRICS)

    def _write_json(self, name: str, content: Json) -> None:
        _write_json(self.folder / name, content)

    def _read_last(self, phase: str) -> Json:
        last, best = self.folder / LAST, self.folder / BEST
        try:
            return read_checkpoint(last)
        except TensorpressError as error:
            raise TensorpressError(f"{error} {_way_out(last, best, phase)}") from error


def training_of(weights: Path) -> tuple[str, int]:
    """What the finished run in whose folder they lie tells of ``weights``.

    Where it began with them, in words, and the epochs that it then trained them; ("", 0) where no
    run tells. A run that compresses its baseline tells of the training of that in the same words.
    """
    if weights.name not in (f"{BASELINE}.pt", f"{CONTROL}.pt"):
        return "", 0
    try:
        summary = _read_summary(weights.parent / SUMMARY)
    except TensorpressError:
        return "", 0
    if summary is None:
        return "", 0
    told = weights.name == f"{BASELINE}.pt" and "train_epochs" in summary
    return str(summary.get("baseline") or ""), 0 if told else summary["epochs"]


def _way_out(last: Path, best: Path, phase: str) -> str:
    start_again = f"{last} to start phase '{phase}' again."
    try:
        state = read_checkpoint(best)
    except TensorpressError:
        state = None
    if state is None or state["phase"] != phase:
        return f"Delete {start_again}"
    return (
        f"{best} is whole: copy it over {last.name} to go on after epoch {state['epochs_done']} "
        f"of phase '{phase}', or delete {start_again}"
    )


def _refuse_foreign(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise TensorpressError(f"{folder} is a file; a run needs a folder: choose another place.")
    if not folder.exists() or holds_run(folder):
        return
    others = sorted(entry.name for entry in folder.iterdir() if not _is_ours(entry.name))
    if others:
        raise TensorpressError(
            f"{folder} is not empty and holds no run (it has '{others[0]}'); choose another folder."
        )


def holds_run(folder: Path) -> bool:
    """Whether ``folder`` is that of a run, whose configuration says of what kind it is.

    Raises:
        TensorpressError: the configuration cannot be read.
    """
    held = _read_json(folder / CONFIG)
    return held is not None and "kind" in held


def _is_ours(name: str) -> bool:
    return name == LOCK or name.startswith(f".{CONFIG}.")


def _settle_config(folder: Path, config: Json, command: str | None) -> None:
    if not _refuse_other(folder, config):
        _write_json(folder / CONFIG, config if command is None else {**config, COMMAND: command})


def _refuse_other(folder: Path, config: Json) -> bool:
    """Whether the folder holds the run that ``config`` describes.

    Raises:
        TensorpressError: it holds another, which has begun; the first difference is named.
    """
    asked = json.loads(json.dumps(config))
    held = _read_json(folder / CONFIG)
    if held is not None:
        held = {name: value for name, value in up_to_date(held).items() if name != COMMAND}
    if held is None or (held != asked and not _has_begun(folder)):
        return False
    old, new = flat(held), flat(asked)
    for name in [*new, *(name for name in old if name not in new)]:
        if old.get(name) != new.get(name):
            raise TensorpressError(
                f"{folder} holds a run with {name} = {_shown(old, name)}, and this one asks for "
                f"{_shown(new, name)}. Choose another folder, or the same settings to go on."
            )
    return True


def _has_begun(folder: Path) -> bool:
    """Whether there is anything of a run to keep; a mistake seen at its start leaves nothing."""
    return any(not _is_ours(entry.name) and entry.name != CONFIG for entry in folder.iterdir())


def _shown(values: Json, name: str) -> str:
    return repr(values[name]) if name in values else "nothing"


def _read_json(path: Path) -> Json | None:
    if not path.exists():
        return None
    content = read_json(path, "restore it, or choose another folder.")
    if not isinstance(content, dict):
        raise TensorpressError(f"{path} holds no JSON object; choose another folder.")
    return content


def _read_summary(path: Path) -> Json | None:
    summary = _read_json(path)
    if summary is not None:
        known = [name for name in COMPARED if summary.get(name) is not None]
        _require_numbers(path, summary, [*TRAINED, *known])
    return summary


def _require_numbers(path: Path, facts: Any, names: Sequence[str]) -> None:
    for name in names:
        value: Any = facts.get(name) if isinstance(facts, dict) else None
        if not is_number(value):
            raise TensorpressError(
                f"{path} is damaged: its {name} is {shown(value)}, and not a number. Restore it, "
                "or choose another folder."
            )


def _write_json(path: Path, content: Json) -> None:
    write_whole(path, json.dumps(content, indent=2) + "\n")
