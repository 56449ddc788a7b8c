"""``tensorpress train``, ``finetune`` and ``run``."""

import dataclasses
from pathlib import Path

from typer import Context

from tensorpress import training
from tensorpress.cli import graphs, options, request_options, training_options
from tensorpress.cli.command_line import command_line
from tensorpress.cli.inputs import (
    images_left,
    read_compressed_inputs,
    read_inputs,
    refuse_without_weights,
    warn_if_as_made,
)
from tensorpress.cli.output import required_folder
from tensorpress.cli.printer import Printer
from tensorpress.cli.training_options import (
    CALIBRATION_IMAGES,
    LoopOptions,
    RecipeOptions,
    TeacherOptions,
    TeachingOptions,
)
from tensorpress.compression.checks import refuse_unjudged, starts_at_random
from tensorpress.errors import TensorpressError
from tensorpress.experiments import result_in, write_results
from tensorpress.request import Calibration, Request, read_recovery
from tensorpress.training import Outcome, recipes_for


def train(
    *,
    net: str | None,
    trained: options.Trained,
    images: options.DataOptions,
    epochs: int | None,
    lr: float | None,
    recipe: RecipeOptions,
    loop: LoopOptions,
    output: Path | None,
    printer: Printer,
) -> None:
    folder = required_folder(output)
    settings = loop.settings(command_line())
    graphs.refuse_training(net)
    inputs = read_inputs(net, **images.required())
    assert inputs.data is not None
    how = recipes_for(inputs.net).train.changed(**recipe.changes(epochs, lr))
    outcome = training.train(
        folder, inputs.as_network(trained), inputs.data, how, settings=settings
    )
    _report(outcome, printer)
    if how.epochs == 0 and outcome.is_main:
        warn_if_as_made(inputs, trained, printer)


def finetune(
    *,
    compressed: Path | None,
    net: str | None,
    dense: TeacherOptions,
    images: options.DataOptions,
    epochs: int | None,
    lr: float | None,
    recipe: RecipeOptions,
    paper: bool,
    teaching: TeachingOptions,
    loop: LoopOptions,
    output: Path | None,
    printer: Printer,
) -> None:
    if compressed is None:
        raise TensorpressError("--compressed is missing: give the model.tp that compress wrote.")
    graphs.refuse_training(str(compressed))
    folder = required_folder(output)
    settings = loop.settings(command_line())
    teacher = dense.trained()
    refuse_without_weights(teacher, "--teacher")
    distillation = teaching.read(taught=teacher.weights is not None)
    inputs = read_compressed_inputs(compressed, net=net, **images.required())
    assert inputs.data is not None
    outcome = training.finetune(
        folder,
        inputs.as_network(options.Trained()),
        compressed,
        inputs.data,
        recipes_for(inputs.net, paper=paper).finetune.changed(**recipe.changes(epochs, lr)),
        teacher=inputs.as_network(teacher) if teacher.weights else None,
        distillation=distillation,
        settings=settings,
    )
    _report(outcome, printer)


def run(
    *,
    net: str | None,
    trained: options.Trained,
    asked: Request,
    calibration_images: int | None,
    recover: bool,
    images: options.DataOptions,
    epochs: int | None,
    train_epochs: int | None,
    finetune_epochs: int | None,
    lr: float | None,
    finetune_lr: float | None,
    recipe: RecipeOptions,
    paper: bool,
    teacher: bool | None,
    teaching: TeachingOptions,
    control: bool,
    loop: LoopOptions,
    config: Path | None,
    output: Path | None,
    context: Context,
    printer: Printer,
) -> None:
    treated = request_options.check_asked(asked)
    folder = required_folder(output)
    settings = loop.settings(command_line())
    taught = not paper if teacher is None else teacher
    distillation = teaching.read(taught=taught)
    graphs.refuse_training(net)
    inputs = read_inputs(net, **images.required())
    assert inputs.data is not None
    recipes = recipes_for(inputs.net, paper=paper)
    first = training_options.first_given(train_epochs, epochs)
    most, how = request_options.calibration_asked(context, asked, calibration_images, recover)
    if most is None:
        there_are = len(inputs.data.train) - loop.hold_back
        without = paper or config is not None or starts_at_random(treated)
        most = 0 if without else images_left(CALIBRATION_IMAGES, there_are, printer)
    if not most and not how:
        raise TensorpressError(
            "recover=False (--no-recover) says what is done with calibration images: give "
            "calibration_images (--calibration-images) too."
        )
    request = dataclasses.replace(
        asked, calibration=Calibration(most, read_recovery(how)) if most else None
    )
    if request.budget is not None:
        scored = request.budget.needs_score
        refuse_unjudged(request.budget, calibrated=request.calibration is not None, scored=scored)
    outcome = training.run_scheme(
        folder,
        inputs.as_network(trained),
        inputs.data,
        request,
        train=recipes.train.changed(**recipe.changes(first, lr)),
        finetune=recipes.finetune.changed(
            **recipe.changes(training_options.first_given(finetune_epochs, epochs), finetune_lr)
        ),
        distillation=distillation,
        dense_control=control,
        settings=settings,
    )
    results = outcome.folder / "results.json"
    # A run killed right after its end has none.
    if outcome.is_main and outcome.prospect is None and not results.exists():
        write_results(results, [result_in(outcome.folder)])
    _report(outcome, printer)
    if first == 0 and outcome.is_main:
        warn_if_as_made(inputs, trained, printer)


def _report(outcome: Outcome, printer: Printer) -> None:
    if not outcome.is_main:
        return
    if outcome.prospect is not None:
        files = [] if outcome.prospect.finished else [outcome.model_file]
        printer.foreseen(outcome.prospect, files)
        return
    facts = outcome.summary
    printer.note("")
    if "pcr" in facts:
        printer.result(f"PCR {facts['pcr']:.2f}  FCR {facts['fcr']:.2f}")
    for key, label in (
        ("acc_baseline", "baseline"),
        ("acc_before_finetune", "compressed, not fine-tuned"),
        ("acc", "at the end"),
        ("acc_dense_control", "baseline trained on as long"),
    ):
        if facts.get(key) is not None:
            printer.result(f"{label:<28} {facts[key]:.2f} %")
    for key, label in (
        ("dacc", "dAcc to the baseline"),
        ("dacc_vs_control", "dAcc to the trained-on one"),
        ("gained", "won back by fine-tuning"),
    ):
        if facts.get(key) is not None:
            printer.result(f"{label:<28} {facts[key]:+.2f} points")
    printer.result(f"on {facts['images']} test images, standard error {facts['stderr']:.2f} points")
    printer.values(facts)
    printer.written(outcome.model_file)
