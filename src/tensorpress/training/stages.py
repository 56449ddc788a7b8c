"""The stages of the scheme; each is done once in a run folder, and leaves a file behind."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tensorpress import artifacts
from tensorpress.compression import Request
from tensorpress.data import Dataset
from tensorpress.errors import TensorpressError
from tensorpress.networks import load_weights
from tensorpress.surgery import count
from tensorpress.training.compression import compress_for
from tensorpress.training.distil import Distillation, Teacher
from tensorpress.training.evaluate import evaluate
from tensorpress.training.logits import require_gradients
from tensorpress.training.loop import portable_state
from tensorpress.training.phase import train_phase
from tensorpress.training.recipes import Recipe
from tensorpress.training.run_folder import BASELINE, COMPRESS, CONTROL, FINETUNE, MODEL
from tensorpress.training.session import Session

COMPRESSED = "compressed.tp"
TUNED_FOR = "fine_tuned_epochs"
"""What a file of ours remembers of how long its network was fine-tuned."""
Facts = dict[str, Any]


def baseline(session: Session, recipe: Recipe) -> Facts:
    """Train the dense network of the session; leaves its weights in ``baseline.pt``."""
    if BASELINE in session.run.phases:
        return session.run.phases[BASELINE]
    net = session.network.make(session.settings.seed)
    return _train_dense(session, BASELINE, net, recipe)


def dense_control(session: Session, recipe: Recipe) -> Facts:
    """Train the baseline on, on labels; leaves its weights in ``dense_control.pt``."""
    if CONTROL in session.run.phases:
        return session.run.phases[CONTROL]
    return _train_dense(session, CONTROL, trained_baseline(session), recipe)


def compressed(session: Session, request: Request) -> Facts:
    """Compress the baseline; leaves ``compressed.tp``."""
    if COMPRESS in session.run.phases:
        return session.run.phases[COMPRESS]
    dense = trained_baseline(session)
    facts = _compress(session, dense, request) if session.place.is_main else {}
    facts = session.place.share(facts)
    net = load_compressed(session, session.run.file(COMPRESSED))
    accuracy = evaluate(net, session.data, place=session.place, progress=session.progress)
    facts["acc"] = accuracy.percent
    session.display.say(f"{accuracy} before fine-tuning")
    session.run.finish_phase(COMPRESS, facts)
    return facts


def finetuned(session: Session, start: Path, recipe: Recipe, teacher: Teacher | None) -> Facts:
    """Fine-tune the network in the file ``start``; leaves ``model.tp``."""
    if FINETUNE in session.run.phases:
        return session.run.phases[FINETUNE]
    net = load_compressed(session, start)
    facts = train_phase(session, FINETUNE, net, recipe, teacher)
    tuned_for = epochs_before(start) + recipe.epochs
    save_model(session, MODEL, net, artifacts.read_manifest(start).account, tuned_for)
    session.run.finish_phase(FINETUNE, facts)
    return facts


def teacher_of(session: Session, net: nn.Module, how: Distillation) -> Teacher:
    """``net`` as a teacher on the session's images, where the session trains."""
    return Teacher(net, how, session.data.input_shape, session.place.device)


def trained_baseline(session: Session) -> nn.Module:
    """The baseline as its stage left it, on the CPU."""
    path = session.run.file(f"{BASELINE}.pt")
    try:
        return load_weights(session.network.build(), path)
    except TensorpressError as error:
        raise TensorpressError(
            f"{path} cannot be read ({str(error).rstrip('.')}): restore it, or start again in "
            "another folder."
        ) from error


def load_compressed(session: Session, path: Path) -> nn.Module:
    """The compressed network in ``path``, on the CPU."""
    return artifacts.load(path, into=session.network.build())


def save_model(
    session: Session,
    name: str,
    net: nn.Module,
    account: Mapping[str, Any] | None = None,
    tuned_for: int = 0,
) -> None:
    """Write ``net`` to the file ``name`` of the run, with what is needed to feed it images.

    ``account`` is that of its compression, after which it was fine-tuned for so many epochs.
    """
    net.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    data = session.data
    source = {
        "network": session.network.name,
        "num_classes": data.num_classes,
        "input_shape": list(data.input_shape),
        "mean": list(data.mean),
        "std": list(data.std),
        **(data.framing.to_dict() if data.framing else {}),
        **({TUNED_FOR: tuned_for} if tuned_for else {}),
    }
    if session.place.is_main:
        artifacts.save(net, session.run.folder / name, source=source, account=account)


def epochs_before(path: Path) -> int:
    """For how many epochs the compressed network in ``path`` was fine-tuned before."""
    found = artifacts.read_manifest(path).source.get(TUNED_FOR, 0)
    return found if type(found) is int and found > 0 else 0


def cost_of(net: nn.Module, data: Dataset) -> Facts:
    """Parameters, and multiply-accumulates for one image."""
    cost = count(net, torch.zeros(1, *data.input_shape))
    return {"params": cost.params, "macs": cost.macs}


def ratios_of(path: Path) -> Facts:
    """PCR and FCR of all compressions of the network in ``path``, where its account was kept."""
    account = artifacts.read_manifest(path).account
    return {} if account is None else artifacts.ratios_in_all(account)


def _train_dense(session: Session, phase: str, net: nn.Module, recipe: Recipe) -> Facts:
    facts = {**cost_of(net, session.data), **train_phase(session, phase, net, recipe)}
    buffer = io.BytesIO()
    torch.save(portable_state(net), buffer)
    session.run.write_whole(f"{phase}.pt", buffer.getvalue())
    session.run.finish_phase(phase, facts)
    return facts


def _compress(session: Session, dense: nn.Module, request: Request) -> Facts:
    require_gradients(dense, session.data)  # it is fine-tuned afterwards
    if request.calibration is not None:
        dense.to(session.place.device)
    result = compress_for(dense, session.split, request, progress=session.progress)
    session.display.say(str(result))
    save_model(session, COMPRESSED, result.model, result.to_dict())
    return {"pcr": result.pcr, "fcr": result.fcr, **cost_of(result.model, session.data)}
