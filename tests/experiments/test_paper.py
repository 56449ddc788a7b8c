"""The paper's tables as printed."""

import pytest

from tensorpress.errors import TensorpressError
from tensorpress.experiments.paper import NAMES, TABLES, paper_counts, paper_table
from tensorpress.experiments.reproduce import points
from tensorpress.networks import NETWORKS


@pytest.mark.parametrize(
    ("name", "network", "data", "rows"),
    [
        ("table2", "TT-conv-CNN", "CIFAR-10", 9),
        ("table3", "VGGnet", "CIFAR-10", 6),
        ("table4", "ResNet-56", "CIFAR-100", 5),
        ("table5", "ResNet-110", "CIFAR-100", 9),
    ],
)
def test_tables_name_their_network_and_data(name: str, network: str, data: str, rows: int) -> None:
    table = paper_table(name)
    assert (table.network, table.data, len(table.rows)) == (network, data, rows)
    assert table.net in NETWORKS


def test_ttpwt_rows_ask_for_their_ratios_and_their_threshold() -> None:
    row = paper_table("table4").rows[-1]
    assert (row.dacc, row.pcr, row.fcr, row.tau) == (-0.50, 3.93, 4.19, 0.55)
    budget, threshold = points(row).values()
    assert budget.budget is not None
    assert (budget.budget.params, budget.budget.macs) == (3.93, 4.19)
    assert repr(threshold.rank) == "Energy(tau=0.55)"


def test_other_rows_are_not_ours_to_run() -> None:
    assert points(paper_table("table3").rows[0]) == {}


def test_counts_cover_the_papers_networks() -> None:
    assert {name for name, _, _ in paper_counts()} == set(NAMES)


@pytest.mark.parametrize("name", ["table1", "table6", "4", ""])
def test_unknown_tables_are_named_with_what_there_is(name: str) -> None:
    with pytest.raises(TensorpressError, match=TABLES[1]):
        paper_table(name)
