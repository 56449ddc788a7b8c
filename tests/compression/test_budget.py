import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression.options.task import LayerOption, LayerTask
from tensorpress.compression.targets.common_step import fit_budget, ratios
from tensorpress.layers.methods import TTPWT
from tensorpress.surgery import survey

IMAGE = (1, 3, 12, 12)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    """Many kernels, each with a spectrum that falls, so that small steps of tau change ranks."""
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(3, 24, 3, padding=1)]
    for _ in range(12):
        conv = nn.Conv2d(24, 24, 3, padding=1)
        conv.weight.data *= torch.linspace(1, 0.1, 24)[:, None, None, None]
        layers += [conv, nn.ReLU()]
    return nn.Sequential(*layers)


def error(options: Sequence[LayerOption]) -> float:
    return sum((option.fit.relative_error or 0.0) ** 2 for option in options)


BUDGETS = [tp.Budget(params=3), tp.Budget(params=4, macs=2), tp.Budget(params=2, macs=5)]


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_budget_is_reached_with_the_highest_threshold(net: nn.Module, budget: tp.Budget) -> None:
    x = torch.zeros(IMAGE)
    result = tp.compress(net, x, method="ttpwt", budget=budget)
    cost = tp.count(result.model, x)
    assert result.params_before / cost.params >= (budget.params or 0)
    assert result.macs_before / cost.macs >= (budget.macs or 0)

    surveyed = survey(net, x)
    tasks = [LayerTask(layer, TTPWT()) for layer in surveyed.layers[1:]]
    found = fit_budget(tasks, surveyed.cost, budget)
    assert ratios(found, surveyed.cost) == (result.pcr, result.fcr)

    def at(tau: float) -> tuple[bool, float]:
        options = [task.at(tp.Energy(tau)) for task in tasks]
        return budget.is_met(*ratios(options, surveyed.cost)), error(options)

    highest = max(tau for tau in (n / 32 for n in range(1, 32)) if at(tau)[0])
    step = 1 / 64
    while step >= 2**-12:
        if at(highest + step)[0]:
            highest += step
        step /= 2
    met, higher = at(highest + 2**-12)
    assert not met
    assert higher < error(found) <= at(highest)[1]


@pytest.mark.parametrize("method", ["auto", "ttpwt"])
def test_met_without_doing_anything(net: nn.Module, method: str) -> None:
    budget = tp.Budget(params=1, macs=1)
    result = tp.compress(net, torch.zeros(IMAGE), method=method, budget=budget, include=["1"])
    assert (result.pcr, result.fcr) == (1.0, 1.0)
    assert all(row.ranks is None for row in result.layers)


@pytest.mark.parametrize("budget", [tp.Budget(params=1e4), tp.Budget(macs=1e4, params=2)])
def test_unreachable_names_the_best(net: nn.Module, budget: tp.Budget) -> None:
    with pytest.raises(tp.TensorpressError, match="cannot be reached") as caught:
        tp.compress(net, torch.zeros(IMAGE), method="ttpwt", budget=budget)
    message = str(caught.value)
    assert str(budget) in message
    found = re.search(r"PCR is ([\d.]+) and FCR ([\d.]+)\.", message)
    assert found is not None
    lowest = tp.compress(net, torch.zeros(IMAGE), rank=tp.Ranks(1, 1, 1))
    assert found.groups() == (f"{lowest.pcr:.2f}", f"{lowest.fcr:.2f}")
    reachable = tp.Budget(params=lowest.pcr, macs=lowest.fcr)
    at_lowest = tp.compress(net, torch.zeros(IMAGE), method="ttpwt", budget=reachable)
    assert at_lowest.pcr == lowest.pcr


def test_unreachable_by_any_form_names_the_best_of_what_was_considered(net: nn.Module) -> None:
    with pytest.raises(tp.TensorpressError, match="cannot be reached") as caught:
        tp.compress(
            net, torch.zeros(IMAGE), method="auto", budget=tp.Budget(params=1e4), include=["1"]
        )
    message = str(caught.value)
    assert "with the smallest ranks that were considered" in message
    found = re.search(r"PCR is ([\d.]+) and FCR ([\d.]+)\.", message)
    assert found is not None
    reachable = tp.Budget(params=float(found[1]) - 0.01)
    result = tp.compress(net, torch.zeros(IMAGE), method="auto", budget=reachable, include=["1"])
    assert result.pcr == pytest.approx(float(found[1]), abs=0.01)


def test_budget_over_excluded_layers_counts_the_whole_network(net: nn.Module) -> None:
    exclude = [str(n) for n in range(1, 12)]
    exclude = [name for name in exclude if isinstance(net.get_submodule(name), nn.Conv2d)]
    given: dict[str, Any] = {"method": "ttpwt", "exclude": exclude}
    result = tp.compress(net, torch.zeros(IMAGE), budget=tp.Budget(params=1.5), **given)
    assert result.pcr >= 1.5
    with pytest.raises(tp.TensorpressError, match="exclude fewer"):
        tp.compress(net, torch.zeros(IMAGE), budget=tp.Budget(params=4), **given)


def test_nothing_to_decompose_reaches_nothing(net: nn.Module) -> None:
    with pytest.raises(tp.TensorpressError, match=r"PCR is 1\.00 and FCR 1\.00"):
        tp.compress(net, torch.zeros(IMAGE), budget=tp.Budget(macs=1.01), exclude=["*"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "params=, macs=, speedup= or milliseconds="),
        ({"params": 0.5}, r"params=0\.5\).*at least 1"),
        ({"macs": 0}, r"macs=0\).*at least 1"),
        ({"params": -4}, "at least 1"),
        ({"params": 4, "macs": float("nan")}, r"macs=nan\)"),
        ({"params": float("inf")}, r"params=inf\)"),
        ({"params": "4"}, r"params='4'\)"),
    ],
)
def test_budgets_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        tp.Budget(**arguments)
