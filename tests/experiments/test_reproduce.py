"""A whole table on a few digits, and what is said of rows that were not run."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from typer.main import get_command
from typer.testing import CliRunner

from tensorpress.cli.app import app
from tensorpress.data import Dataset, load_data
from tensorpress.errors import TensorpressError
from tensorpress.experiments import (
    Result,
    TableRun,
    foresee_table,
    paper_table,
    read_results,
    reproduce,
)
from tensorpress.networks import build
from tensorpress.training import Accuracy, Network, Recipe, RunProspect, Settings

KEYS = {
    "network", "data", "method", "pcr", "fcr", "acc_baseline", "acc", "dacc", "images", "stderr",
    "epochs", "seed", "command", "machine",
}  # fmt: skip


def plan(folder: Path) -> TableRun:
    data = load_data("digits")
    few = dataclasses.replace(data, train=data.train.subset(data.train.labels < 2))
    return TableRun(
        folder=folder,
        network=Network("tt_conv_cnn", lambda: build("tt_conv_cnn", 10, 1)),
        data=few,
        train=Recipe(1, weight_decay=0.0),
        finetune=Recipe(1, weight_decay=0.0),
        control=True,
        teacher=False,
        calibration_images=0,
        int8=False,
        settings=Settings(seed=3, device="cpu", quiet=True),
        command="tensorpress reproduce table2",
    )


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Result]]:
    folder = tmp_path_factory.mktemp("table2")
    return folder, reproduce(paper_table("table2"), plan(folder))


def test_every_ttpwt_row_is_run_at_its_ratios_and_its_threshold(
    rows: tuple[Path, list[Result]],
) -> None:
    _, results = rows
    assert [result.method for result in results] == [
        "dense, trained on",
        "TTPWT at PCR 3.06 and FCR 2.95",
        "TTPWT with Energy(tau=0.6)",
        "TTPWT at PCR 5.03 and FCR 4.73",
        "TTPWT with Energy(tau=0.5)",
    ]
    for result, (pcr, fcr) in zip(results[1::2], [(3.06, 2.95), (5.03, 4.73)], strict=True):
        assert result.pcr >= pcr
        assert result.fcr >= fcr
    assert len({result.acc_baseline for result in results}) == 1
    assert {result.baseline for result in results} == {"trained for 1 epochs"}


def test_rows_hold_what_repeats_them(rows: tuple[Path, list[Result]]) -> None:
    folder, results = rows
    written = json.loads((folder / "results.json").read_text())
    assert all(set(row) >= KEYS for row in written)
    for result in results:
        assert result.dacc == pytest.approx(result.acc - result.acc_baseline)
        assert result.is_control or result.dacc_vs_control is not None
        assert (result.seed, result.epochs, result.images) == (3, 1, 360)


def test_a_finished_table_is_only_read(rows: tuple[Path, list[Result]]) -> None:
    folder, results = rows
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("model.tp")}
    again = dataclasses.replace(plan(folder), control=False, command="another")
    assert reproduce(paper_table("table2"), again) == results
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("model.tp")}


def test_ratios_out_of_reach_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    def small() -> nn.Module:
        convs = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3), nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(*convs, nn.Flatten(), nn.Linear(4, 10))

    asked = dataclasses.replace(plan(tmp_path / "T"), network=Network("small", small))
    for goes in (reproduce, foresee_table):
        with pytest.raises(TensorpressError, match=r"PCR 3.06 .*cannot be reached"):
            goes(paper_table("table2"), asked)
        assert not (tmp_path / "T").exists()


def dry(folder: Path, **changes: Any) -> RunProspect:
    asked = plan(folder)
    settings = dataclasses.replace(asked.settings, dry_run=True)
    asked = dataclasses.replace(asked, settings=settings, **changes)
    return foresee_table(paper_table("table2"), asked)


def test_a_finished_table_is_told_for_one(rows: tuple[Path, list[Result]]) -> None:
    folder, _ = rows
    assert dry(folder).finished
    assert dry(folder, control=False).finished
    assert str(dry(folder)) == "the run is finished: nothing would be done"


@pytest.mark.parametrize(
    "changes",
    [
        {"finetune": Recipe(0), "control": False},  # nothing to train, but to compress
        {"teacher": True},
        {"calibration_images": 16},
        {"int8": True},
    ],
    ids=lambda changes: ", ".join(changes),
)
def test_a_table_with_rows_to_come_is_not_finished(
    rows: tuple[Path, list[Result]], changes: dict[str, Any]
) -> None:
    prospect = dry(rows[0], **changes)
    assert not prospect.finished
    assert "finished" not in str(prospect)


def test_a_row_that_is_gone_is_to_be_done(rows: tuple[Path, list[Result]], tmp_path: Path) -> None:
    folder = shutil.copytree(rows[0], tmp_path / "RUNS")
    kept = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(kept[:-1]))
    assert not dry(folder).finished
    (folder / "results.json").write_text(json.dumps(kept))
    assert dry(folder).finished
    shutil.rmtree(next(folder.glob("ttpwt*")))
    assert list(dry(folder).seconds) != []
    assert not dry(folder).finished


@pytest.mark.parametrize("finished", [True, False])
def test_of_a_finished_table_no_files_are_told(
    monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    prospect = RunProspect(finished, {}, None, {})
    foresee = "tensorpress.cli.work.reproduce.foresee_table"
    monkeypatch.setattr(foresee, lambda *_: prospect)
    command = ["reproduce", "resnet20-cifar10", "--data", "digits", "-o", "R", "--dry-run"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert ("nothing would be done" in shown.output) == finished
    assert ("would write" in shown.output) == (not finished)
    assert ("comes on top" in shown.output) == (not finished)


def test_the_table_stands_beside_the_printed_one(rows: tuple[Path, list[Result]]) -> None:
    folder, _ = rows
    shown = CliRunner().invoke(app, ["reproduce", "table2", "-o", str(folder)])
    assert shown.exit_code == 0
    assert "not run" not in shown.output
    assert shown.output.count("ours: ") == 5
    assert "digits" in shown.output


def test_rows_that_were_not_run_say_so() -> None:
    shown = CliRunner().invoke(app, ["reproduce", "table5"])
    assert shown.exit_code == 0
    assert shown.output.count("not run") == 1


def of_a_run() -> list[tuple[str, ...]]:
    """Every option of the command that is of a run, as it would be given."""
    command = get_command(app).commands["reproduce"]  # type: ignore[attr-defined]
    given: list[tuple[str, ...]] = []
    for option in command.params:
        names = {*option.opts, *option.secondary_opts} - {"-o", "-q"}
        if option.param_type_name == "option" and not names & {"--output", "--quiet", "--json"}:
            value = () if option.is_flag else ("1",)
            given += [(name, *value) for name in names if name not in ("--help", "-h")]
    return given


@pytest.mark.parametrize("idle", sorted({*of_a_run()} - {("--data", "1")}))
def test_what_is_asked_of_a_run_is_refused_where_nothing_is_run(idle: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, ["reproduce", "table2", *idle])
    assert f"{idle[0]}: without --data nothing is run" in str(shown.exception)


@pytest.mark.parametrize("idle", sorted({*of_a_run(), ("--output", "X")}))
def test_table_1_takes_no_options_of_a_run(idle: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, ["reproduce", "table1", *idle])
    assert str(shown.exception).startswith(f"{idle[0]}: table1 is counted, with nothing run")


def test_all_that_is_idle_is_named() -> None:
    words = "reproduce table1 --data nosuch --epochs 3 --dry-run --weights nofile -o X"
    shown = CliRunner().invoke(app, words.split())
    idle = str(shown.exception).partition(": ")[0].split(" and ")
    assert set(idle) == {"--data", "--epochs", "--dry-run", "--weights", "--output"}


def test_table_1_counts_the_networks() -> None:
    shown = CliRunner().invoke(app, ["reproduce", "table1"])
    assert shown.exit_code == 0
    assert "853,018" in shown.output


def test_damaged_results_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('[{"network": ')
    with pytest.raises(TensorpressError, match="delete it"):
        read_results(tmp_path / "results.json")


def tiny_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 8, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 10),
    )


def test_a_baseline_of_weights_is_taken_and_each_point_has_three_rows_and_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "published-net.pt"
    net = tiny_net()
    torch.save(net.state_dict(), weights)
    data = load_data("digits")
    few = data.train.subset(torch.arange(32))
    asked = dataclasses.replace(
        plan(tmp_path / "RUNS"),
        network=Network("tiny", tiny_net, weights),
        data=dataclasses.replace(data, train=few, test=few),
        train=Recipe(0),
        finetune=Recipe(1, lr=0.01),
        control=False,
        calibration_images=16,
        int8=True,
    )
    table = dataclasses.replace(paper_table("resnet20-cifar10"), ratios=((1.2, 1.2),))
    measured = []

    def in_int8(net: nn.Module, _: Dataset) -> Accuracy:
        measured.append(sum(parameter.numel() for parameter in net.parameters()))
        return Accuracy(9, 360)

    module = sys.modules["tensorpress.experiments.reproduce"]
    monkeypatch.setattr(module, "accuracy_in_int8", in_int8)
    results = reproduce(table, asked)
    at = "at PCR 1.2 and FCR 1.2"
    methods = [f"TTPWT {at}", *(f"{m} {at}, calibrated on 16 images" for m in ("TTPWT", "auto"))]
    assert [(result.method, result.is_int8) for result in results] == [
        ("dense", True), *((method, int8) for method in methods for int8 in (False, True))
    ]  # fmt: skip
    dense = sum(parameter.numel() for parameter in net.parameters())
    ratios = [dense / count for count in measured]
    assert ratios == pytest.approx([1.0, *(result.pcr for result in results[1::2])])
    for result in results:
        assert result.baseline.startswith("published-net.pt (sha256 ")
        assert result.acc_baseline == results[0].acc_baseline
        if result.is_int8:
            assert (result.acc, result.dacc) == (2.5, 2.5 - result.acc_baseline)
    assert reproduce(table, asked) == results
    assert len(measured) == 4


def test_the_control_counts_for_int8_too(rows: tuple[Path, list[Result]]) -> None:
    _, results = rows
    row = results[1]
    found = row.in_int8(Accuracy(180, 360))
    control = next(result for result in results if result.is_control)
    assert found.dacc_vs_control == pytest.approx(50.0 - control.acc)
    assert not found.is_control


@pytest.mark.parametrize(
    ("options", "epochs"),
    [
        (("--weights", "w.pt", "--epochs", "3"), (0, 3)),
        (("--weights", "w.pt", "--train-epochs", "2", "--finetune-epochs", "1"), (2, 1)),
        (("--epochs", "3"), (3, 3)),
        ((), (200, 200)),
    ],
)
def test_given_weights_are_the_baseline_unless_epochs_are_asked_for(
    options: tuple[str, ...],
    epochs: tuple[int, int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(build("resnet20", 10, 1).state_dict(), "w.pt")
    asked: list[TableRun] = []

    def run(_: object, what: TableRun) -> list[Result]:
        asked.append(what)
        return []

    monkeypatch.setattr(sys.modules["tensorpress.cli.work.reproduce"], "reproduce", run)
    command = ["reproduce", "resnet20-cifar10", "--data", "digits", *options, "-o", "R"]
    shown = CliRunner().invoke(app, [*command, "--no-paper"])
    assert shown.exit_code == 0, shown.output
    assert (asked[0].train.epochs, asked[0].finetune.epochs) == epochs
    assert (asked[0].train.optimizer, asked[0].finetune.optimizer) == ("sgd", "muon")
    assert asked[0].calibration_images == min(2000, len(asked[0].data.train))


def test_a_network_that_is_taken_as_it_is_made_is_told_of_beside_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.py").write_text(
        "from torch import nn\n\ndef make():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 8), nn.Flatten(), nn.Linear(4, 10))\n"
    )
    monkeypatch.setattr(sys.modules["tensorpress.cli.work.reproduce"], "reproduce", lambda *_: [])
    command = ["reproduce", "table2", "--data", "digits", "--net", "own.py:make", "-o", "R"]
    for options, told in (([], True), (["--train-epochs", "1"], False)):
        shown = CliRunner().invoke(app, [*command, *options])
        assert shown.exit_code == 0, shown.output
        assert ("NO WEIGHTS were given" in shown.output) == told
