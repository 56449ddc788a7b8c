"""Measured rows as JSON and Markdown."""

import dataclasses
from pathlib import Path

import pytest

from tensorpress import Budget, Energy
from tensorpress.compression import Request
from tensorpress.experiments import Result, markdown, method_of, read_results, write_results
from tensorpress.training import Recipe
from tensorpress.training.recipes import Optimizer

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


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [ROW, dataclasses.replace(ROW, dacc_vs_control=-1.5)]
    write_results(tmp_path / "results.json", rows)
    assert read_results(tmp_path / "results.json") == rows


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_results(tmp_path / "results.json") == []


def test_the_worse_difference_counts() -> None:
    assert ROW.worse_dacc == -0.75
    assert dataclasses.replace(ROW, dacc_vs_control=-1.5).worse_dacc == -1.5
    assert dataclasses.replace(ROW, dacc_vs_control=0.5).worse_dacc == -0.75


def test_markdown_has_a_row_a_result_and_says_what_was_not_run() -> None:
    text = markdown([ROW, dataclasses.replace(ROW, dacc_vs_control=-1.5, seed=2)])
    rows = [line for line in text.splitlines() if line.startswith("| resnet56")]
    assert len(rows) == 2
    assert len({row.count("|") for row in text.splitlines()[:4]}) == 1
    assert "not run" in rows[0]
    assert "-1.50" in rows[1]
    assert text.count("`tensorpress run`") == 2


@pytest.mark.parametrize(
    ("compression", "optimizer", "distilled", "words"),
    [
        (Request(rank=Energy(0.8)), "sgd", False, "TTPWT with Energy(tau=0.8)"),
        (Request(budget=Budget(params=4)), "muon", True, "AUTO at PCR 4, distilled, Muon"),
        (
            Request(method="ttpwt", budget=Budget(params=4, macs=3), balance=True),
            "adamw",
            True,
            "TTPWT at PCR 4 and FCR 3, balanced, distilled, AdamW",
        ),
    ],
)
def test_methods_in_words(
    compression: Request, optimizer: Optimizer, distilled: bool, words: str
) -> None:
    recipe = Recipe(1, optimizer=optimizer)
    assert method_of(compression, recipe, distilled=distilled) == words
