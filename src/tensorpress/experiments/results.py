"""Measured rows: what was run, what came out, and the command that repeats it."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.files import write_whole
from tensorpress.training import Recipe


@dataclass(frozen=True)
class Result:
    """One measured row.

    Attributes:
        network, data, method: what was compressed, on what, how.
        pcr, fcr: parameter and MAC ratio.
        acc_baseline, acc: in percent on ``images`` test images, before and after the scheme.
        dacc: ``acc - acc_baseline``, in points.
        dacc_vs_control: ``acc`` minus the accuracy of the baseline trained on for as many epochs;
            None where that was not run.
        stderr: standard error of ``acc`` in points.
        epochs: of fine-tuning.
        seed, command, machine: what repeats it, and where it was run.
    """

    network: str
    data: str
    method: str
    pcr: float
    fcr: float
    acc_baseline: float
    acc: float
    dacc: float
    dacc_vs_control: float | None
    images: int
    stderr: float
    epochs: int
    seed: int
    command: str
    machine: str

    @property
    def worse_dacc(self) -> float:
        """The one of the two differences that counts."""
        return self.dacc if self.dacc_vs_control is None else min(self.dacc, self.dacc_vs_control)


def result_of(summary: dict[str, Any], method: str, command: str) -> Result:
    """The row of a finished run, from its summary."""
    known = {
        field.name: summary.get(field.name)
        for field in fields(Result)
        if field.name not in ("method", "command", "machine")
    }
    where = summary.get("machine", summary["device"])
    return Result(**known, method=method, command=command, machine=where)  # type: ignore[arg-type]


NAMES = {"sgd": "SGD", "adamw": "AdamW", "muon": "Muon"}


def method_of(request: Request, finetune: Recipe, *, distilled: bool) -> str:
    """What a run did, in the words of a table: "TTPWT at PCR 4 and FCR 4, balanced, Muon"."""
    rule = f"at {request.budget}" if request.budget else f"with {request.rank}"
    marks = [", balanced"] * request.balance + [", distilled"] * distilled
    if request.calibration:
        marks.insert(0, f", calibrated on {request.calibration.images:,} images")
    marks += [f", {NAMES[finetune.optimizer]}"] * (finetune.optimizer != "sgd")
    return f"{request.treated_by.upper()} {rule}{''.join(marks)}"


def markdown(results: list[Result]) -> str:
    """Rows as a Markdown table, with the commands and machines that gave them below."""
    head = (
        "network", "data", "method", "PCR", "FCR", "baseline", "accuracy", "dAcc",
        "dAcc to control", "images", "epochs", "seed",
    )  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in results:
        control = "not run" if row.dacc_vs_control is None else f"{row.dacc_vs_control:+.2f}"
        cells = (
            row.network,
            row.data,
            row.method,
            f"{row.pcr:.2f}",
            f"{row.fcr:.2f}",
            f"{row.acc_baseline:.2f}",
            f"{row.acc:.2f} ± {row.stderr:.2f}",
            f"{row.dacc:+.2f}",
            control,
            f"{row.images:,}",
            str(row.epochs),
            str(row.seed),
        )
        lines.append(f"| {' | '.join(cells)} |")
    sources = [
        f"{number}. `{row.command}`  \n   {row.machine}" for number, row in enumerate(results, 1)
    ]
    return "\n".join([*lines, "", "Commands and machines, row by row:", "", *sources]) + "\n"


def write_results(path: Path, results: list[Result]) -> None:
    """Write rows as a JSON list."""
    text = json.dumps([asdict(result) for result in results], indent=1) + "\n"
    write_whole(path, text)


def read_results(path: Path) -> list[Result]:
    """The rows in a file that `write_results` wrote; none where there is no file.

    Raises:
        TensorpressError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        return [Result(**row) for row in json.loads(path.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise TensorpressError(f"{path} holds no results ({error}): delete it.") from error
