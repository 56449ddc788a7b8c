"""Measured rows as JSON and Markdown."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import tensorpress as tp
from tensorpress import Budget, Energy
from tensorpress.compression import Request
from tensorpress.data import Dataset, ImageSet
from tensorpress.deploy.runtimes.processor import machine
from tensorpress.errors import TensorpressError
from tensorpress.experiments import (
    Result,
    method_of,
    read_results,
    recipe_of,
    result_in,
    result_of,
    write_results,
)
from tensorpress.request.request import Calibration
from tensorpress.training import (
    Accuracy,
    Distillation,
    Network,
    Recipe,
    Settings,
    finetune,
    recipes_for,
    run_scheme,
    train,
)
from tensorpress.training.recipes import OURS

ROW = Result(
    network="resnet56",
    data="cifar10",
    method="TTPWT",
    pcr=4.0,
    fcr=4.2,
    acc_baseline=90.0,
    acc=89.25,
    dacc=-0.75,
    dacc_vs_control=None,
    images=10_000,
    stderr=0.31,
    epochs=8,
    seed=1,
    command="tensorpress run",
    machine="a machine",
)

KNOWN_BY_OTHERS = ("epochs", "milestones", "factor")
"""Settings that a row tells elsewhere, or that do nothing on our schedule."""


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, dataclasses.replace(ROW, dacc_vs_control=-1.5, curve=(80.0, 89.25))]
    write_results(tmp_path / "results.json", rows)
    assert read_results(tmp_path / "results.json") == rows


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_results(tmp_path / "results.json") == []


def test_rows_from_before_baselines_were_told_are_read(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_results(path, [ROW])
    rows = json.loads(path.read_text())
    del rows[0]["baseline"], rows[0]["curve"], rows[0]["recipe"], rows[0]["is_int8"]
    path.write_text(json.dumps(rows))
    assert read_results(path) == [ROW]


@pytest.mark.parametrize(
    "damaged",
    [
        "[{",
        "[3]",
        "[[]]",
        "null",
        '{"a": 1}',
        '[{"a": 1}]',
        "[" * 100_000,
        json.dumps([dataclasses.asdict(ROW) | {"pcr": "x"}]),
        json.dumps([dataclasses.asdict(ROW) | {"curve": 3}]),
        json.dumps([dataclasses.asdict(ROW) | {"acc": float("nan")}]),
    ],
)
def test_damaged_rows_are_named_with_the_way_out(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(damaged)
    with pytest.raises(
        TensorpressError, match=r"results\.json (cannot be read|holds no results).*: delete it"
    ):
        read_results(path)


def test_the_worse_difference_counts() -> None:
    assert ROW.worse_dacc == -0.75
    assert dataclasses.replace(ROW, dacc_vs_control=-1.5).worse_dacc == -1.5
    assert dataclasses.replace(ROW, dacc_vs_control=0.5).worse_dacc == -0.75


@pytest.mark.parametrize(
    ("compression", "distillation", "words"),
    [
        (Request(rank=Energy(0.8)), None, "TTPWT with Energy(tau=0.8)"),
        (
            Request(method="auto", budget=Budget(macs=4), calibration=Calibration(2000)),
            Distillation(),
            "auto at FCR 4, calibrated on 2,000 images, distilled",
        ),
        (
            Request(budget=Budget(params=4)),
            Distillation(temperature=2, layers=0.5),
            "TTPWT at PCR 4, distilled (temperature 2, layers 0.5)",
        ),
        (
            Request(method="ttpwt", budget=Budget(params=4, macs=3), balance=True),
            Distillation(alpha=1.0),
            "TTPWT at PCR 4 and FCR 3, balanced, distilled (alpha 1)",
        ),
    ],
)
def test_methods_in_words(
    compression: Request, distillation: Distillation | None, words: str
) -> None:
    assert method_of(compression, distillation) == words


def test_what_differs_from_the_usual_recipe_is_told() -> None:
    usual = recipes_for("resnet20").finetune
    assert recipe_of(usual, Settings(seed=3)) == "Muon"
    assert recipe_of(usual.changed(epochs=4, lr=0.0005), Settings()) == "Muon at 0.0005"
    paper = recipes_for("vggnet", paper=True).finetune
    assert recipe_of(paper, Settings()) == "SGD at 0.01, in steps, weight decay 0.001"
    assert recipe_of(paper.scaled(0), Settings()) == ""


@pytest.mark.parametrize(
    "changed", [f.name for f in dataclasses.fields(Recipe) if f.name not in KNOWN_BY_OTHERS]
)
def test_recipes_that_differ_are_told_apart(changed: str) -> None:
    others = {
        "schedule": "step",
        "optimizer": "adamw",
        "nesterov": True,
        "batch_size": 64,
        "mixup": 0.4,
    }
    recipe = Recipe(8, **OURS)
    if changed not in others:
        others[changed] = 0.5 * getattr(recipe, changed)
    words = recipe_of(dataclasses.replace(recipe, **{changed: others[changed]}), Settings())
    assert words != recipe_of(recipe, Settings())


def test_settings_that_train_otherwise_are_told_apart() -> None:
    recipe = Recipe(8, **OURS)
    told = {
        recipe_of(recipe, Settings()),
        recipe_of(recipe, Settings(freeze_bn=True)),
        recipe_of(recipe, Settings(hold_back=5000)),
        recipe_of(recipe, Settings(), 2),
        recipe_of(recipe, Settings(), epochs_before=3),
    }
    assert len(told) == 5


def test_int8_moves_both_differences_alike() -> None:
    row = dataclasses.replace(ROW, dacc_vs_control=-1.5, curve=(80.0, 89.25))
    row = row.in_int8(Accuracy(89, 100))
    assert row.curve == ()
    assert (row.name, row.acc, row.images) == ("TTPWT, int8", 89.0, 100)
    assert (row.dacc, row.dacc_vs_control) == pytest.approx((-1.0, -1.75))
    assert row.stderr == Accuracy(89, 100).stderr
    assert row.machine == machine("cpu") != ROW.machine
    assert row.is_int8
    assert not ROW.is_int8


def make_net() -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1),
        torch.nn.Conv2d(4, 8, 3, padding=1),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 2),
    )


def test_finished_runs_are_rows_that_say_where_their_baseline_comes_from(tmp_path: Path) -> None:
    images = ImageSet(
        torch.arange(32 * 64, dtype=torch.int64).remainder(251).to(torch.uint8).view(32, 1, 8, 8),
        torch.arange(32).remainder(2),
    )
    data = Dataset("few", images, images, ("a", "b"), (0.5,), (0.5,), 0, flip=False)
    torch.manual_seed(0)
    torch.save(make_net().state_dict(), tmp_path / "known.pt")
    network = Network("own", make_net, tmp_path / "known.pt")
    quiet = Settings(device="cpu", quiet=True, command="tensorpress words", seed=4)
    recipe = Recipe(2, lr=0.01, batch_size=16, optimizer="adamw")

    outcome = train(tmp_path / "CONTROL", network, data, recipe, settings=quiet)
    control = result_in(tmp_path / "CONTROL")
    assert control.is_control
    assert control.name == "dense, trained on, AdamW at 0.01, in steps, batches of 16"
    assert (control.pcr, control.fcr) == (1.0, 1.0)
    assert control.acc == outcome.summary["acc"]
    train(tmp_path / "DENSE", network, data, Recipe(0), settings=quiet)
    dense = result_in(tmp_path / "DENSE")
    assert control.curve[0] == dense.acc
    assert control.curve[-1] == control.acc
    assert len(control.curve) == 3
    assert (dense.method, dense.curve, dense.acc, dense.dacc) == (
        "dense",
        (),
        control.acc_baseline,
        0.0,
    )
    assert not dense.is_control

    small = tp.compress(network.make(0), torch.zeros(1, 1, 8, 8), budget=Budget(params=1.2))
    tp.save(small, tmp_path / "small.tp", source={"network": "own"})
    finetune(
        *(tmp_path / "RUN", Network("own", make_net), tmp_path / "small.tp", data, recipe),
        teacher=network,
        settings=quiet,
    )
    row = result_in(tmp_path / "RUN")
    assert (row.method, row.recipe) == ("TTPWT at PCR 1.2, distilled", control.recipe)
    assert (row.pcr, row.fcr) == (small.pcr, small.fcr)
    assert (row.seed, row.epochs, row.images, row.command) == (4, 2, 32, "tensorpress words")
    assert row.baseline == control.baseline
    assert row.baseline.startswith("known.pt (sha256 ")
    assert row.acc_baseline == control.acc_baseline == control.acc - control.dacc
    assert row.dacc == row.acc - row.acc_baseline

    for folder, start, before in (("MORE", "RUN", 2), ("LAST", "MORE", 4)):
        finetune(
            *(tmp_path / folder, Network("own", make_net), tmp_path / start / "model.tp"),
            *(data, recipe),
            teacher=network,
            settings=quiet,
        )
        assert result_in(tmp_path / folder).recipe == f"{row.recipe}, after {before} epochs before"

    whole = run_scheme(
        *(tmp_path / "WHOLE", network, data, Request(budget=Budget(params=1.2))),
        train=Recipe(1, lr=0.01, batch_size=16),
        finetune=recipe,
        dense_control=True,
        settings=quiet,
    )
    row = result_in(tmp_path / "WHOLE")
    assert row.dacc_vs_control == whole.summary["acc"] - whole.summary["acc_dense_control"]
    assert (len(row.curve), row.curve[0]) == (3, whole.summary["acc_before_finetune"])
    assert row.curve[-1] == row.acc

    metrics = tmp_path / "CONTROL" / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[1:]))
    assert result_in(tmp_path / "CONTROL").curve == ()


@pytest.mark.parametrize("config", ["{}", "[]", '{"kind": "train", "train": {"epoch": 1}}'])
def test_a_damaged_run_is_refused_in_a_line(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "summary.json").write_text('{"acc_baseline": 50.0}')
    with pytest.raises(TensorpressError, match="no run that can be told of"):
        result_in(tmp_path)


def test_a_run_without_a_baseline_or_an_end_is_no_row(tmp_path: Path) -> None:
    with pytest.raises(TensorpressError, match="no finished run"):
        result_in(tmp_path)
    (tmp_path / "config.json").write_text('{"kind": "finetune"}')
    (tmp_path / "summary.json").write_text('{"acc": 1.0, "acc_baseline": null}')
    with pytest.raises(TensorpressError, match="knows no baseline"):
        result_in(tmp_path)


def test_a_summary_from_before_machines_were_told_is_a_row() -> None:
    summary = {**dataclasses.asdict(ROW), "device": "cpu"}
    del summary["machine"], summary["baseline"]
    row = result_of(summary, "TTPWT", "", "tensorpress run")
    assert row == dataclasses.replace(ROW, machine="cpu")
