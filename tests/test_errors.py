"""What of a user's objects stands in messages: a line of it, and never a tensor."""

import ast
import inspect
import types
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.data import load_data, load_unlabelled
from tensorpress.decompose.cp import CP
from tensorpress.errors import LONGEST_LINE, first_line, shown
from tensorpress.experiments.comparison import Comparison
from tensorpress.layers.row_clusters import cluster_rows
from tensorpress.training import Network, Recipe, Settings, fit

SOURCES = sorted((Path(tp.__file__).parent).rglob("*.py"))
IMAGE = torch.randn(3, 40, 40)
NET = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3)).eval()
RECIPE = Recipe(epochs=1, lr=0.1)
SMALL = torch.zeros(1, 3, 8, 8)
digits = cache(partial(load_data, "digits"))
AWFUL: dict[str, Callable[[], Any]] = {
    "a tensor": lambda: IMAGE,
    "a list of one image": lambda: [IMAGE],
    "lists of numbers": lambda: IMAGE.tolist(),
    "an array": lambda: IMAGE.numpy(),
    "a mapping of lists": lambda: {"images": [IMAGE]},
    "lists in lists": lambda: [[[(IMAGE, IMAGE)]]],
    "an object that holds one": lambda: types.SimpleNamespace(image=IMAGE),
    "a text of many lines": lambda: "no\nsuch\nthing" * 1000,
    "a number of many digits": lambda: 10**6000,
    "a module": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
}


SEEDED: dict[str, Callable[[Any], Any]] = {
    "Recovery": lambda seed: tp.Recovery(seed=seed),
    "Settings": lambda seed: Settings(seed=seed),
    "methods.DeepKMeans": lambda seed: tp.methods.DeepKMeans(seed=seed),
    "cluster_rows": lambda seed: cluster_rows(torch.rand(9, 2), 3, seed=seed),
    "CP": lambda seed: CP(torch.rand(3, 3), seed),
    "prune": lambda seed: tp.prune(NET, SMALL, budget=tp.Budget(macs=1.5), seed=seed),
    "explore": lambda seed: tp.explore(NET, SMALL, SMALL, seed=seed),
    "share_weights": lambda seed: tp.share_weights(NET, SMALL, clusters=2, seed=seed),
    "load_unlabelled": lambda seed: load_unlabelled("digits", most=2, seed=seed),
    "fit": lambda seed: next(fit(NET, digits(), RECIPE, seed=seed)),
    "compare": lambda seed: Comparison((), (), RECIPE, seed=seed).refuse_impossible(),
    "hold_back": lambda seed: digits().hold_back(2, seed),
    "make": lambda seed: Network("resnet20", NET.float).make(seed),
}


@pytest.mark.parametrize("seed", [None, "a", 1.5, True, -3, 2**63, 2**70])
@pytest.mark.parametrize("what", SEEDED)
def test_no_seed_is_told_in_one_line(what: str, seed: Any) -> None:
    with pytest.raises(tp.TensorpressError) as told:
        SEEDED[what](seed)
    wanted = "give a whole number from 0 to 2^63 - 1, such as 0."
    assert str(told.value) == f"seed={seed!r}: {wanted}"


def test_all_that_draws_takes_the_largest_seed() -> None:
    largest = 2**63 - 1
    tp.prune(NET, SMALL, method="random", budget=tp.Budget(macs=1.5), seed=largest)
    tp.share_weights(NET, SMALL, clusters=2, seed=largest)
    tp.compress(
        NET, SMALL, rank=tp.Energy(0.5), calibration=torch.rand(40, 3, 8, 8), progress=False,
        recover=tp.Recovery(distil_epochs=1, seed=largest),
    )  # fmt: skip


@pytest.mark.parametrize("what", AWFUL)
def test_any_value_is_shown_on_one_short_line(what: str) -> None:
    text = shown(AWFUL[what]())
    assert len(text) <= 60
    assert "\n" not in text
    assert "tensor([" not in text
    assert "array([" not in text


def test_what_is_shown_can_be_recognised() -> None:
    assert shown([IMAGE]) == "[<a tensor of shape (3, 40, 40)>]"
    assert shown({"a": (1, None)}) == "{'a': (1, None)}"
    assert shown((0.5,)) == "(0.5,)"
    assert shown(list(range(9))) == "[0, 1, 2, 3, 4, 5, ...]"
    assert shown(torch.tensor(0.5)) == "tensor(0.5000)"
    assert shown(tp.Energy(0.5)) == "Energy(tau=0.5)"


def test_of_errors_of_others_one_short_line_is_quoted() -> None:
    assert first_line(RuntimeError("\n  first\nsecond")) == "first"
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError(str(IMAGE.tolist())))) == LONGEST_LINE


def test_no_message_takes_a_value_as_it_prints() -> None:
    """``{value!r}`` prints whatever a user gave; ``{shown(value)}`` does not."""
    found = [f"{path.name}:{line}" for path in SOURCES for line in _raw_values(path)]
    assert not found


def _raw_values(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        of_error = isinstance(node, ast.Raise) or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id.endswith("Error")
        )
        for part in ast.walk(node) if of_error else ():
            if isinstance(part, ast.FormattedValue) and part.conversion == ord("r"):
                yield part.lineno


def _net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()


NOT_REFUSED = {"progress", "seed", "grams", "rough", "cache", "ema", "allow_extra", "into"}
"""Truth alone is asked of these, or they are for our own code."""
HALF, TWICE = tp.Energy(0.5), tp.Budget(params=1.01)
INPUTS = torch.zeros(1, 3, 10, 10)
CALLS: dict[str, tuple[Callable[..., Any], Callable[[], dict[str, Any]]]] = {
    "compress": (tp.compress, lambda: {"net": _net(), "example_inputs": INPUTS, "rank": HALF}),
    "prune": (tp.prune, lambda: {"net": _net(), "example_inputs": INPUTS, "budget": TWICE}),
    "tensorize": (tp.tensorize, lambda: {"net": _net(), "example_inputs": INPUTS, "rank": 2}),
    "share_weights": (tp.share_weights, lambda: {"net": _net(), "example_inputs": INPUTS}),
    "explore": (
        tp.explore,
        lambda: {"net": _net(), "example_inputs": INPUTS, "calibration": torch.ones(2, 3, 10, 10)},
    ),
    "count": (tp.count, lambda: {"net": _net(), "example_inputs": INPUTS}),
    "factorize": (tp.factorize, lambda: {"layer": nn.Conv2d(4, 4, 3), "rank": HALF}),
    "tt_svd": (tp.tt_svd, lambda: {"tensor": torch.ones(2, 3, 4), "rank": HALF}),
    "Energy": (tp.Energy, lambda: {"tau": 0.5}),
    "SingularSum": (tp.SingularSum, lambda: {"tau": 0.5}),
    "RelativeError": (tp.RelativeError, lambda: {"eps": 0.5}),
    "Budget": (tp.Budget, dict),
    "Recovery": (tp.Recovery, dict),
    "load": (tp.load, lambda: {"path": "none.tp", "into": _net()}),
    "load_weights": (tp.load_weights, lambda: {"net": _net(), "file": "none.pth"}),
    "save": (tp.save, lambda: {"model": _net(), "path": "net.tp"}),
    "export": (
        tp.export,
        lambda: {"model": _net(), "path": "net.none", "example_inputs": INPUTS},
    ),
    "plan": (
        tp.plan,
        lambda: {"model": _net(), "example_inputs": INPUTS, "runtime": "none"},
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_whatever_is_given_is_taken_or_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    function, usual = CALLS[name]
    refused = 0
    for parameter in inspect.signature(function).parameters.keys() - NOT_REFUSED:
        for make in AWFUL.values():
            try:
                function(**usual() | {parameter: make()})
            except tp.TensorpressError as error:
                refused += 1
                message = str(error)
                assert "\n" not in message, (parameter, message)
                assert len(message) < 600, (parameter, message)
                assert "tensor([" not in message, (parameter, message)
                assert "array([" not in message, (parameter, message)
    assert refused > 2
