"""One phase of training inside a run folder: goes on where it stopped, and keeps every epoch."""

from typing import Any

import torch
from torch import nn

from tensorpress.training.distil import Objective, Teacher, learning_from
from tensorpress.training.evaluate import Accuracy, evaluate
from tensorpress.training.logits import require_answers, require_gradients
from tensorpress.training.loop import EpochResult, OnStep, Saving, Trainer
from tensorpress.training.recipes import Recipe
from tensorpress.training.session import Session


def train_phase(
    session: Session, phase: str, net: nn.Module, recipe: Recipe, teacher: Teacher | None = None
) -> dict[str, Any]:
    """Train ``net`` in place by ``recipe`` and give its accuracy on the test images.

    It learns from ``teacher``, or from labels where there is none.

    Raises:
        TensorpressError: the network does not suit the images, the training diverged, a
            checkpoint is damaged or cannot be written.
    """
    # Tried before anything listens to its layers: what is heard then would count as a step's.
    require_answers(net, session.data, torch.device("cpu"))
    require_gradients(net, session.data, recipe.batch_size)
    with learning_from(teacher, net) as objective:
        return _train(session, phase, net, recipe, objective)


def _train(
    session: Session, phase: str, net: nn.Module, recipe: Recipe, objective: Objective
) -> dict[str, Any]:
    run, data, settings, split = session.run, session.data, session.settings, session.split
    done, best = 0, None

    def checkpoint(epochs_done: int, lr: float, trained: dict[str, Any]) -> dict[str, Any]:
        where = {"phase": phase, "epochs_done": epochs_done, "lr": lr, "best": best}
        return {**where, "seed": settings.seed, **trained}

    def save(epoch: int, trained: dict[str, Any]) -> None:
        run.record(checkpoint(epoch, recipe.lr_at(epoch), trained))

    def on_step(epoch: int, shown: OnStep) -> OnStep:
        def hear(step: int, steps: int) -> None:
            session.forecast.on_step(phase, trainer.batches.size, epoch)
            shown(step, steps)

        return hear

    trainer = Trainer(
        net,
        split,
        recipe,
        seed=settings.seed,
        phase=phase,
        objective=objective,
        place=session.place,
        freeze_bn=settings.freeze_bn,
        compiled=settings.compiled,
        bf16=settings.bf16,
        saving=Saving(60 * settings.checkpoint_minutes, save),
    )
    state = run.start_phase(phase)
    if state is not None:
        trainer.restore(state)
        done, best = state["epochs_done"], state["best"]
        begun = state.get("begun")
        within = f" and step {begun['step']} of {trainer.batches.steps}" if begun else ""
        session.display.say(f"{phase}: going on after epoch {done} of {recipe.epochs}{within}")
    with session.display.phase(phase, recipe.epochs, done) as bar:
        for epoch in range(done, recipe.epochs):
            result = trainer.epoch(epoch, on_step(epoch, bar.on_step(epoch)))
            line = _line(phase, result)
            merit = -result.loss
            if settings.hold_back:
                held = evaluate(net, split, place=session.place, progress=False)
                line["held_back_acc"] = merit = held.percent
            test = evaluate(net, data, place=session.place, progress=False)
            line["test_acc"] = test.percent
            is_best = best is None or merit > best["merit"]
            best = {"epoch": epoch + 1, "merit": merit} if is_best else best
            whole = checkpoint(epoch + 1, result.lr, trainer.state())
            run.record_epoch(line, whole, is_best=is_best)
            bar.epoch(line)
    if settings.hold_back and recipe.epochs:
        net.load_state_dict(run.best(phase)["model"])
    accuracy = evaluate(net, data, place=session.place, progress=session.progress)
    return {"epochs": recipe.epochs, **accuracy_facts(accuracy)}


def accuracy_facts(accuracy: Accuracy) -> dict[str, Any]:
    """Accuracy and standard error in percent, and the number of images behind them."""
    return {"acc": accuracy.percent, "stderr": accuracy.stderr, "images": accuracy.images}


def _line(phase: str, result: EpochResult) -> dict[str, Any]:
    return {
        "phase": phase,
        "epoch": result.epoch + 1,
        "lr": result.lr,
        "loss": result.loss,
        "train_acc": result.train_accuracy,
        "seconds": round(result.seconds, 3),
    }
