"""The forms of the layers, and the charts that have their colours."""

import math
from pathlib import Path

import pytest
from timed import DENSE, cell

import tensorpress as tp
from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.report import read_material
from tensorpress.report.account import read_account
from tensorpress.report.accuracy_chart import accuracy_chart, with_baseline
from tensorpress.report.form_charts import form_chart, loss_chart, time_chart, time_finding
from tensorpress.report.forms import STAYS, forms_of, why
from tensorpress.report.material import Material, Score
from tensorpress.report.rank_chart import rank_chart
from tensorpress.report.times import Times
from tensorpress.request import Recovery
from tensorpress.request.budget import Budget
from tensorpress.request.request import Calibration
from tensorpress.surgery import LayerRow, Precision
from tensorpress.training.curves import Epoch, curve_charts


def row(name: str, method: str | None, kept: float | None = None) -> LayerRow:
    ranks = (3, 4, 5) if method == "ttpwt" else (9,) if method else None
    decision = method or "kept: first convolution (skip_first)"
    return LayerRow(name, "Conv2d", ranks, kept, kept, 10, 5, 10, 5, decision, method)


ROWS = (row("1", None), row("2", "ttpwt", 0.9), row("3", "cp", 0.75), row("4", "cp", 0.5))


def test_the_most_frequent_form_comes_first_and_what_stays_last() -> None:
    assert [(form.name, form.places, form.series) for form in forms_of(ROWS)] == [
        ("cp", (2, 3), 0),
        ("ttpwt", (1,), 1),
        (STAYS, (0,), None),
    ]


def test_each_layer_stands_in_one_row_named_for_its_form() -> None:
    chart = form_chart(ROWS, forms_of(ROWS))
    assert sorted(place for lane in chart.lanes for place in lane.places) == [0, 1, 2, 3]
    assert [lane.text for lane in chart.lanes] == [
        *("cp, 2 layers", "ttpwt, 1 layer", f"{STAYS}, 1 layer"),
    ]
    assert "cp in 2 layers, ttpwt in 1 layer" in chart.label


def test_a_bar_has_the_colour_of_its_layers_form() -> None:
    bars = loss_chart(ROWS, forms_of(ROWS), "").bars
    assert {bar.name: list(bar.values) for bar in bars} == {
        "cp": [0, 0, 0.25, 0.5],
        "ttpwt": [0, pytest.approx(0.1), 0, 0],
    }
    timed = Times("", 8, (cell(0.010, 0.02, 0.005),)).by_layer
    dense, *planned = time_chart(ROWS, forms_of(ROWS), timed).bars
    assert timed["2"].chosen == DENSE
    assert list(dense.values) == [0, 5.0, 0, 0]
    assert {bar.name: list(bar.values) for bar in planned} == {
        "planned, cp": [0, 0, 0, 0],
        "planned, ttpwt": [0, 5.0, 0, 0],
    }
    assert "0 as stored, 1 as their dense kernels and 0 with some cores merged" in time_finding(
        timed
    )


def test_ranks_are_drawn_as_shares_of_full_rank() -> None:
    ranked = [(r.name, r.ranks) for r in ROWS]
    full = {"2": (6, 8, 5), "3": (18,), "4": (4,)}  # a rank over full: "4" was pruned too
    lines = rank_chart(ranked, full, forms_of(ROWS)).lines
    assert {line.name: list(line.points) for line in lines} == {
        "cp R1": [(2.0, 0.5)],
        "ttpwt R1": [(1.0, 0.5)],
        "ttpwt R2": [(1.0, 0.5)],
        "ttpwt R3": [(1.0, 1.0)],
    }
    assert not any(line.is_joined for line in lines)
    lines = rank_chart(ranked, {}).lines
    assert list(lines[0].points) == [(1.0, 3.0), (2.0, 9.0), (3.0, 9.0)]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (None, "What was asked for is not recorded."),
        (Request(rank=tp.Energy(0.6)), "The rank rule says how much of each layer is kept."),
        (Request(budget=Budget(macs=2)), "One threshold for all layers was looked for that"),
        (
            Request(budget=Budget(params=6), calibration=Calibration(64)),
            "tried in every form, at several ranks each. Of the choices that reach PCR 6,",
        ),
        (
            Request(
                budget=Budget(params=6),
                method="cp",
                calibration=Calibration(64, Recovery(allocate=False)),
            ),
            "One threshold for all layers was looked for that reaches PCR 6.",
        ),
    ],
)
def test_why(request_: Request | None, words: str) -> None:
    text = why(ROWS, request_)
    assert words in text
    assert "Why layers stay: 1 of 1: first convolution (skip_first)." in text


def test_a_precision_that_was_chosen_along_is_told() -> None:
    chosen = Precision("int8", "onnxruntime", 1, 1, 2.0, 5.0, 4, 3, ("1",), ("f32: 1.10x",))
    text = why(ROWS, None, chosen)
    assert (
        "along with the forms: int8 in 3 of 4 layers, forms in 3 of 4 layers: 2.50x the speed"
        in text
    )
    assert "and not f32: 1.10x." in text
    facts = {"layers": [], "precision": chosen.to_dict()}
    facts |= dict.fromkeys(("params_before", "params_after", "macs_before", "macs_after"), 1)
    assert read_account(facts, Path("account.json")).precision == chosen
    for damaged in ({"name": 3}, chosen.to_dict() | {"milliseconds": 0}):
        facts["precision"] = damaged
        with pytest.raises(TensorpressError, match=r"account\.json is damaged: its precision is"):
            read_account(facts, Path("account.json"))


def test_accuracies_have_standard_errors_and_the_line_of_the_dense_network() -> None:
    before, after = Score("dense", 90.0, 400), Score("compressed", 80.0, 100)
    chart = accuracy_chart(Material(Path(), "compress", before=before, untuned=after))
    assert chart is not None
    (line,) = chart.lines
    assert list(line.points) == [(0.0, 90.0), (1.0, 80.0)]
    errors = [100 * math.sqrt(0.9 * 0.1 / 400), 100 * math.sqrt(0.8 * 0.2 / 100)]
    assert line.errors == pytest.approx(errors)
    assert [level.value for level in chart.levels] == [90.0]
    assert chart.y.low <= 76.0
    assert chart.y.high >= 91.5
    assert accuracy_chart(Material(Path(), "train", before=before)) is None
    epochs = [Epoch("finetune", n, 0.1, 1.0, 50.0, 60.0 + n, 1.0) for n in (1, 2)]
    curves = with_baseline(curve_charts(epochs)[0], before)
    assert curves.y.high >= 90.0
    assert [line.errors is not None for line in curves.lines] == [False, True]


def test_a_run_has_its_accuracies_on_the_page(run: Path) -> None:
    chart = accuracy_chart(read_material(run))
    assert chart is not None
    assert chart.x.texts == ("dense", "compressed", "tuned", "control")
