"""The paper's scheme as one resumable run, and its single steps: train, and fine-tune."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tensorpress import artifacts
from tensorpress.compression import Request
from tensorpress.compression.checks import check_request
from tensorpress.compression.pruning import Criterion
from tensorpress.data import Dataset
from tensorpress.errors import TensorpressError
from tensorpress.training import stages
from tensorpress.training.distil import Distillation
from tensorpress.training.evaluate import evaluate
from tensorpress.training.foresee import Ahead, Course
from tensorpress.training.network import Network, file_digest
from tensorpress.training.recipes import Recipe
from tensorpress.training.run_folder import BASELINE, CONTROL, FINETUNE, MODEL
from tensorpress.training.run_settings import Settings
from tensorpress.training.session import Outcome, Session, carry_out


def run_scheme(
    folder: Path,
    network: Network,
    data: Dataset,
    request: Request,
    *,
    train: Recipe,
    finetune: Recipe,
    distillation: Distillation | None = None,
    dense_control: bool = False,
    settings: Settings | None = None,
) -> Outcome:
    """Train a baseline, compress it, fine-tune it: the whole scheme in one folder.

    The baseline starts from ``network``; with weights, ``train`` adapts them, and a recipe of 0
    epochs takes them as they are. ``distillation`` makes the baseline the teacher of fine-tuning.
    ``dense_control`` also trains the dense baseline on by the recipe of fine-tuning, on labels,
    and the summary then holds the difference to that as well: an undertrained baseline would
    flatter the compressed network. Accuracies are on all test images, of the last epoch, or of the
    best one on images held back.

    Called again with the same arguments it goes on where it stopped, and a finished run is only
    read. ``folder`` then holds ``model.tp``, ``summary.json``, ``metrics.jsonl`` and more.

    Raises:
        TensorpressError: an input is wrong (what `tensorpress.compress` would refuse, before any
            training), the folder is of another run or in use, training diverged, or a file cannot
            be read or written; what was reached before is kept.
    """
    if not network.is_trained and train.epochs == 0:
        raise TensorpressError(
            "0 epochs of training and no weights would compress an untrained network; give "
            "weights, or epochs to train."
        )
    treated = check_request(request)
    if isinstance(treated, Criterion) and distillation is not None and distillation.layers:
        raise TensorpressError(
            f"distillation's weight of the layers is {distillation.layers:g} (--follow), and "
            f"{treated.name} prunes, which decomposes no layer: leave it out."
        )
    config = {
        "kind": "run",
        "train": dataclasses.asdict(train),
        "compression": request.to_dict(),
        "finetune": dataclasses.asdict(finetune),
        "distillation": distillation and dataclasses.asdict(distillation),
        "dense_control": dense_control,
    }

    def phases(session: Session) -> dict[str, Any]:
        dense = stages.baseline(session, train)
        small = stages.compressed(session, request)
        teacher = (
            stages.teacher_of(session, stages.trained_baseline(session), distillation)
            if distillation
            else None
        )
        start = session.run.file(stages.COMPRESSED)
        tuned = stages.finetuned(session, start, finetune, teacher)
        control = stages.dense_control(session, finetune) if dense_control else None
        return {
            "method": request.treated_by,
            "balance": request.balance,
            "distilled": distillation is not None,
            "pcr": small["pcr"],
            "fcr": small["fcr"],
            "params_baseline": dense["params"],
            "params": small["params"],
            "macs_baseline": dense["macs"],
            "macs": small["macs"],
            "baseline": network.origin(train.epochs),
            "acc_baseline": dense["acc"],
            "acc_before_finetune": small["acc"],
            "acc": tuned["acc"],
            "dacc": tuned["acc"] - dense["acc"],
            "acc_dense_control": control and control["acc"],
            "dacc_vs_control": control and tuned["acc"] - control["acc"],
            "images": tuned["images"],
            "stderr": tuned["stderr"],
            "train_epochs": dense["epochs"],
            "epochs": tuned["epochs"],
        }

    settings = settings or Settings()
    ahead = [
        Ahead(BASELINE, train),
        Ahead(FINETUNE, finetune, taught=distillation is not None),
        *([Ahead(CONTROL, finetune)] if dense_control else []),
    ]
    course = Course(ahead, lambda: network.make(settings.seed), request)
    return carry_out(folder, config, network, data, settings, course, phases)


def train(
    folder: Path,
    network: Network,
    data: Dataset,
    recipe: Recipe,
    *,
    then: Sequence[Ahead] = (),
    settings: Settings | None = None,
) -> Outcome:
    """Train ``network`` by ``recipe``: a run of one phase, resumed like `run_scheme`.

    ``folder`` ends with ``model.tp`` and the plain weights ``baseline.pt``. Of trained weights the
    summary holds the accuracy at the start too, and the difference to it. ``then`` are phases of
    other runs, which are told with how long it takes.

    Raises:
        TensorpressError: as `run_scheme`.
    """

    def phases(session: Session) -> dict[str, Any]:
        facts = stages.baseline(session, recipe)
        stages.save_model(session, MODEL, stages.trained_baseline(session))
        return {"method": "dense", **facts, **_gain(session, facts["acc"])}

    config = {"kind": "train", "train": dataclasses.asdict(recipe)}
    settings = settings or Settings()
    course = Course([Ahead(BASELINE, recipe), *then], lambda: network.make(settings.seed))
    return carry_out(folder, config, network, data, settings, course, phases)


def finetune(
    folder: Path,
    network: Network,
    compressed: Path,
    data: Dataset,
    recipe: Recipe,
    *,
    teacher: Network | None = None,
    distillation: Distillation | None = None,
    settings: Settings | None = None,
) -> Outcome:
    """Fine-tune the network in the file ``compressed``, of the architecture ``network`` builds.

    With a ``teacher`` the network learns from it as ``distillation`` says, and the summary holds
    the difference to it; the ratios stand there where the file has an account. A run of one phase,
    resumed like `run_scheme`; ``folder`` ends with ``model.tp``.

    Raises:
        TensorpressError: as `run_scheme`.
    """
    how = distillation or Distillation()
    config = {
        "kind": "finetune",
        "compressed_sha256": file_digest(compressed),
        "finetune": dataclasses.asdict(recipe),
        "teacher": teacher and teacher.fingerprint(),
        "distillation": teacher and dataclasses.asdict(how),
    }

    def phases(session: Session) -> dict[str, Any]:
        start = stages.load_compressed(session, compressed)
        before = evaluate(start, data, place=session.place, progress=session.progress)
        session.display.say(f"{before} before fine-tuning")
        taught, dense = None, None
        if teacher is not None:
            net = teacher.make(session.settings.seed)
            found = evaluate(net, data, place=session.place, progress=session.progress)
            dense = found.percent
            taught = stages.teacher_of(session, net, how)
        facts = stages.finetuned(session, compressed, recipe, taught)
        return {
            **stages.ratios_of(compressed),
            **stages.cost_of(start.cpu(), data),
            "distilled": teacher is not None,
            "baseline": teacher and teacher.origin(),
            "acc_baseline": dense,
            "acc_before_finetune": before.percent,
            **facts,
            "dacc": None if dense is None else facts["acc"] - dense,
            "gained": facts["acc"] - before.percent,
            "epochs_before": stages.epochs_before(compressed),
        }

    def start() -> nn.Module:
        if teacher is not None:
            teacher.make((settings or Settings()).seed)  # what is wrong with it shows here
        return artifacts.load(compressed, into=network.build())

    course = Course([Ahead(FINETUNE, recipe, taught=teacher is not None)], start)
    return carry_out(folder, config, network, data, settings or Settings(), course, phases)


def _gain(session: Session, reached: float) -> dict[str, Any]:
    """What training on has changed; nothing where it started from no trained weights."""
    network = session.network
    if not network.is_trained:
        return {}
    start = network.make(session.settings.seed)
    found = evaluate(start, session.data, place=session.place, progress=session.progress)
    return {
        "baseline": network.origin(),
        "acc_baseline": found.percent,
        "dacc": reached - found.percent,
    }
