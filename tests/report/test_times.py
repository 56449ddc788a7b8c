"""What the page says of times."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from html_check import check_page
from timed import cell
from torch import nn

from tensorpress.deploy import Benchmark, Cell
from tensorpress.errors import TensorpressError
from tensorpress.report import Findings, Material, build_page, read_material
from tensorpress.report.headline import cards, runtime_cards, verdict
from tensorpress.report.times import Times, measure


@pytest.fixture
def material(compressed: Path) -> Material:
    return read_material(compressed)


def said(material: Material, *cells: Cell) -> str:
    return verdict(material, Findings(times=Times("", 8, cells)))


def test_the_planned_time_comes_first_and_what_is_slower_is_said(material: Material) -> None:
    both = said(material, cell(0.010, 0.0174, 0.005))
    assert "Planned, a batch of 8 takes 5.00 ms here, the dense network 10.00 ms" in both
    assert "2.00 times faster." in both
    assert both.index("5.00 ms") < both.index("17.40 ms, 1.74 times as long as the dense")
    assert "stored" not in said(material, cell(0.010, 0.009, 0.005))
    assert "stored it takes 4.00 ms, less than by its plan" in said(
        material, cell(0.01, 0.004, 0.005)
    )
    assert "about as long" in said(material, cell(0.010, 0.02, 0.0101))
    slower = said(material, cell(0.010, 0.02, 0.012))
    assert "1.20 times slower, not faster" in slower


def test_a_slower_plan_is_bad_news_on_its_card(material: Material) -> None:
    for planned, worse in ((0.012, True), (0.0101, False), (0.008, False)):
        found = cards(material, Findings(times=Times("", 8, (cell(0.010, 0.02, planned),))))
        (card,) = (card for card in found if card.title == "Time here")
        assert card.worse is worse
        assert [(bar.label, bar.value) for bar in card.bars] == [
            ("dense", 0.010),
            ("stored", 0.02),
            ("planned", planned),
        ]


def test_runtimes_stand_side_by_side_on_one_scale(material: Material) -> None:
    cells = (cell(0.010, 0.02, 0.005), cell(0.004, 0.008, 0.002, precision="int8", own=0.008))
    found = runtime_cards(Times("", 8, cells))
    assert [card.title for card in found] == ["torch, f32", "onnxruntime, int8"]
    assert {card.whole for card in found} == {0.02}
    assert [bar.label for bar in found[1].bars] == [
        *("dense, float", "dense, int8", "stored", "planned"),
    ]
    text = said(material, *cells)
    assert "In int8, in onnxruntime, it takes 2.00 ms planned" in text
    findings = Findings(material.account, times=Times("", 8, cells))
    page = check_page(build_page(material, findings))
    assert "onnxruntime, int8" in page.words
    assert "int8 was not timed" not in page.words


def test_what_cannot_be_timed_by_layer_has_no_bar() -> None:
    found = cell(0.010, 0.02, 0.005)
    (row,) = found.table.rows
    assert list(Times("", 8, (found,)).by_layer) == ["2"]
    untold = replace(row, seconds=dict.fromkeys(row.seconds, 0.0))
    none = replace(found, table=replace(found.table, rows=(untold,)))
    assert not Times("", 8, (none,)).by_layer


def test_int8_is_timed_where_there_are_images(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def benchmark(*given_nets: object, **given: Any) -> Benchmark:
        assert given_nets == (dense, small, (3,))
        (runtime,) = given["runtimes"]
        asked.append((runtime, given["precisions"], given["batches"], given["calibration"]))
        if runtime == "onnxruntime":
            raise TensorpressError("onnxruntime is not installed.")
        return Benchmark((cell(0.010, 0.02, 0.005),), {})

    monkeypatch.setattr("tensorpress.report.times.benchmark", benchmark)
    dense, small = nn.Linear(3, 4), nn.Linear(3, 4)
    images = torch.zeros(16, 3)
    found = measure(dense, small, (3,), batch=2, machine="")
    assert asked == [("torch", ("auto",), [2], None)]
    assert not found.missing
    found = measure(dense, small, (3,), batch=2, machine="", calibration=images)
    assert asked[1:] == [
        ("torch", ("auto",), [2], images),
        ("onnxruntime", ("auto", "int8"), [2], images),
    ]
    assert len(found.cells) == 1
    assert found.missing == {"onnxruntime": "onnxruntime is not installed."}
