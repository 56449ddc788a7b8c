"""The paper's tables as printed."""

import dataclasses

import pytest

from tensorpress.choices import TABLES
from tensorpress.errors import TensorpressError
from tensorpress.experiments.paper import NAMES, paper_counts, paper_table
from tensorpress.experiments.reproduce import points
from tensorpress.networks import NETWORKS


@pytest.mark.parametrize(
    ("name", "network", "data", "rows"),
    [
        ("table2", "TT-conv-CNN", "CIFAR-10", 9),
        ("table3", "VGGnet", "CIFAR-10", 6),
        ("table4", "ResNet-56", "CIFAR-100", 5),
        ("table5", "ResNet-110", "CIFAR-100", 9),
        ("resnet20-cifar10", "ResNet-20", "CIFAR-10", 0),
        ("resnet56-cifar10", "ResNet-56", "CIFAR-10", 2),
    ],
)
def test_tables_name_their_network_and_data(name: str, network: str, data: str, rows: int) -> None:
    table = paper_table(name)
    assert (table.network, table.data, len(table.rows)) == (network, data, rows)
    assert table.net in NETWORKS


def test_ttpwt_rows_ask_for_their_ratios_and_their_threshold() -> None:
    row = paper_table("table4").rows[-1]
    assert (row.dacc, row.pcr, row.fcr, row.tau) == (-0.50, 3.93, 4.19, 0.55)
    table = dataclasses.replace(paper_table("table4"), ratios=())
    budget, threshold = points(table)
    assert budget.budget is not None
    assert (budget.budget.params, budget.budget.macs) == (3.93, 4.19)
    assert repr(threshold.rank) == "Energy(tau=0.55)"


def test_other_rows_are_not_ours_to_run() -> None:
    table = paper_table("table3")
    assert list(points(dataclasses.replace(table, rows=table.rows[:1]))) == []


def test_further_ratios_are_asked_for_in_all_three_ways() -> None:
    found = list(points(paper_table("resnet56-cifar10"), calibration_images=100))
    assert [(r.budget.params, r.budget.macs) for r in found if r.budget] == [(4, 4)] * 3 + [
        (6, 6)
    ] * 3
    assert [r.method for r in found] == ["ttpwt", "ttpwt", "auto"] * 2
    assert [r.calibration and r.calibration.images for r in found] == [None, 100, 100] * 2


def test_table_4_is_also_measured_at_6() -> None:
    found = [r.budget for r in points(paper_table("table4")) if r.budget]
    assert [(b.params, b.macs) for b in found] == [(3.93, 4.19), (6, 6)]


def test_counts_cover_the_papers_networks() -> None:
    assert {name for name, _, _ in paper_counts()} == set(NAMES) - {"ResNet-20"}


@pytest.mark.parametrize("name", ["table1", "table6", "4", ""])
def test_unknown_tables_are_named_with_what_there_is(name: str) -> None:
    with pytest.raises(TensorpressError, match=TABLES[1]):
        paper_table(name)
