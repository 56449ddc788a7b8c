"""A whole table on a few digits, and what is said of rows that were not run."""

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tensorpress.cli.app import app
from tensorpress.data import load_data
from tensorpress.errors import TensorpressError
from tensorpress.experiments import Result, TableRun, paper_table, read_results, reproduce
from tensorpress.networks import build
from tensorpress.training import Network, Settings

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
        epochs=1,
        control=True,
        teacher=False,
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
        "TTPWT at PCR 3.06 and FCR 2.95",
        "TTPWT, eq. 14 at 0.6",
        "TTPWT at PCR 5.03 and FCR 4.73",
        "TTPWT, eq. 14 at 0.5",
    ]
    for result, (pcr, fcr) in zip(results[::2], [(3.06, 2.95), (5.03, 4.73)], strict=True):
        assert result.pcr >= pcr
        assert result.fcr >= fcr
    assert len({result.acc_baseline for result in results}) == 1


def test_rows_hold_what_repeats_them(rows: tuple[Path, list[Result]]) -> None:
    folder, results = rows
    written = json.loads((folder / "results.json").read_text())
    assert all(set(row) >= KEYS for row in written)
    for result in results:
        assert result.dacc == pytest.approx(result.acc - result.acc_baseline)
        assert result.dacc_vs_control is not None
        assert result.worse_dacc == min(result.dacc, result.dacc_vs_control)
        assert (result.seed, result.epochs, result.images) == (3, 1, 360)


def test_a_finished_table_is_only_read(rows: tuple[Path, list[Result]]) -> None:
    folder, results = rows
    files = {path: path.stat().st_mtime_ns for path in folder.rglob("model.tp")}
    again = dataclasses.replace(plan(folder), control=False, command="another")
    assert reproduce(paper_table("table2"), again) == results
    assert files == {path: path.stat().st_mtime_ns for path in folder.rglob("model.tp")}


def test_the_table_stands_beside_the_printed_one(rows: tuple[Path, list[Result]]) -> None:
    folder, _ = rows
    shown = CliRunner().invoke(app, ["reproduce", "table2", "-o", str(folder)])
    assert shown.exit_code == 0
    assert "not run" not in shown.output
    assert "digits" in shown.output


def test_rows_that_were_not_run_say_so() -> None:
    shown = CliRunner().invoke(app, ["reproduce", "table5"])
    assert shown.exit_code == 0
    assert shown.output.count("not run") == 2


def test_table_1_counts_the_networks() -> None:
    shown = CliRunner().invoke(app, ["reproduce", "table1"])
    assert shown.exit_code == 0
    assert "853,018" in shown.output


def test_damaged_results_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('[{"network": ')
    with pytest.raises(TensorpressError, match="delete it"):
        read_results(tmp_path / "results.json")
