"""Budgets of quality, through ``compress``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.compression import Request
from tensorpress.compression.metrics.held_back import hold_back
from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.targets import by_quality, timed, tries
from tensorpress.compression.targets.grid import Grid, faster
from tensorpress.compression.targets.judge import judge_of
from tensorpress.compression.targets.tries import Tries
from tensorpress.settings import given_by, read_options
from tensorpress.surgery import Account, evaluating

IMAGE = torch.zeros(1, 3, 8, 8)
CLASSES = 5


def images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Noisy pictures of five things, and which."""
    things = torch.randn(CLASSES, 3, 8, 8, generator=torch.Generator().manual_seed(42))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return things[labels] + 2.5 * torch.randn(count, 3, 8, 8, generator=generator), labels


def network() -> nn.Module:
    """Trained for a moment to tell the things."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(256, CLASSES),
    )  # fmt: skip
    optimiser = torch.optim.Adam(net.parameters(), lr=0.005)
    for step in range(60):
        shown, labels = images(64, seed=100 + step)
        optimiser.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(net(shown), labels))
        optimiser.step()
    return net.eval()


NET, IMAGES = network(), images(240)[0]
HELD, REST = (rows for rows in hold_back(IMAGES, seed=0) if isinstance(rows, Tensor))


def compressed(budget: tp.Budget | None, net: nn.Module = NET, **options: Any) -> Account:
    given: dict[str, Any] = {
        "method": "ttpwt", "calibration": IMAGES, "recover": False, "progress": False
    }  # fmt: skip
    return tp.compress(net, IMAGE, budget=budget, **{**given, **options})


@torch.no_grad()
def agreement(model: nn.Module) -> float:
    with evaluating(model):
        same = model(HELD).argmax(1) == NET(HELD).argmax(1)
    return float(same.double().mean())


def test_a_fifth_is_held_back_and_32_at_least() -> None:
    assert (len(HELD), len(REST)) == (48, 192)
    both = torch.cat([HELD, REST]).flatten(1)
    assert torch.equal(both.sort(0).values, IMAGES.flatten(1).sort(0).values)
    held, rest = hold_back(IMAGES[:60], seed=0)
    assert (len(held), len(rest)) == (32, 28)
    with pytest.raises(tp.TensorpressError, match=r"holds 32 .* and needs 16 others, and 40 were"):
        compressed(tp.Budget(agreement=0.9), calibration=IMAGES[:40])


@dataclass
class Watched:
    """A compression at an agreement of 90 %, and what happened on the way."""

    result: Account
    fed: list[Tensor]
    steps: Mapping[int, bool]
    grid: Grid
    told: list[str]


@pytest.fixture(scope="module")
def watched() -> Watched:
    fed, steps, grids, told = [], {}, [], []
    fit, meets = InputMetric.fit, Tries._meets

    def watched_fit(self: InputMetric, picks: Any) -> Any:
        fed.append(self.images)
        return fit(self, picks)

    def watched_meets(self: Tries, step: int) -> bool:
        grids.append(self._grid)
        steps[step] = meets(self, step)
        return steps[step]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(InputMetric, "fit", watched_fit)
        patched.setattr(Tries, "_meets", watched_meets)
        patched.setattr(tries, "announce", lambda line, show: told.append(line))  # noqa: ARG005
        result = compressed(tp.Budget(agreement=0.9))
    return Watched(result, fed, steps, grids[0], told)


def test_the_agreement_is_kept_on_images_that_nothing_else_saw(watched: Watched) -> None:
    result = watched.result
    assert result.quality is not None
    assert result.quality.value == agreement(result.model) >= 0.9
    assert result.quality.images == 48
    assert result.pcr > 2
    assert len(watched.fed) == len(watched.told) + 1
    assert all(torch.equal(each, REST) for each in watched.fed)
    assert str(result).endswith(f"{result.quality} on 48 calibration images held back")
    assert json.loads(json.dumps(result.to_dict()))["quality"]["value"] == result.quality.value
    assert Request.from_dict(dict(result.request)).budget == tp.Budget(agreement=0.9)
    assert result.request["calibration"]["images"] == 240


def test_every_try_is_told(watched: Watched) -> None:
    result = watched.result
    starts = [line.split(":")[0] for line in watched.told]
    assert starts == [f"try {number}" for number in range(1, len(starts) + 1)]
    last = f"PCR {result.pcr:.2f}, FCR {result.fcr:.2f}, {result.quality}"
    assert sum(line.endswith(last) for line in watched.told) == 1


def test_the_next_step_of_the_grid_does_not_keep_it(watched: Watched) -> None:
    result, grid = watched.result, watched.grid
    last = max(step for step, met in watched.steps.items() if met)
    assert watched.steps[last + 1] is False
    assert len(watched.steps) <= 10
    asked, following = (
        {pick.name: pick.ranks for pick in grid.picks(step) or ()} for step in (last, last + 1)
    )
    assert {row.name: row.ranks for row in result.layers if row.ranks} == asked
    rules = {name: tp.Ranks(*ranks) for name, ranks in following.items()}
    next_one = compressed(None, calibration=REST, rank=rules)
    assert next_one.pcr > result.pcr or next_one.fcr > result.fcr
    assert agreement(next_one.model) < 0.9


def test_more_agreement_keeps_a_larger_network(watched: Watched) -> None:
    strict = compressed(tp.Budget(agreement=0.97))
    assert watched.result.params_after < strict.params_after
    assert watched.result.macs_after < strict.macs_after


def test_distillation_does_not_take_the_agreement_away(monkeypatch: pytest.MonkeyPatch) -> None:
    spoilt = []

    def spoils(_self: Any, model: Any) -> None:
        spoilt.append(model)
        with torch.no_grad():
            model[-1].weight.neg_()

    monkeypatch.setattr(InputMetric, "distil", spoils)
    recover = tp.Recovery(distil_epochs=1)
    result = compressed(tp.Budget(agreement=0.9), recover=recover, include=["2"])
    assert spoilt == [result.model]
    assert result.quality is not None
    assert result.quality.value == agreement(result.model) >= 0.9


def test_what_cannot_be_reached_says_the_best_there_is() -> None:
    with pytest.raises(tp.TensorpressError) as refused:
        compressed(tp.Budget(output_error=1e-7), include=["2"])
    message = str(refused.value)
    assert message.startswith("output error 1e-07 on 48 calibration images held back cannot be ")
    assert "tries was PCR 1." in message
    assert "\n" not in message


def test_outputs_that_are_no_classes_have_an_error() -> None:
    net = NET[:-2]
    result = compressed(tp.Budget(output_error=0.5), net, include=["2"])
    with torch.no_grad():
        wanted, given = net(HELD), result.model(HELD)
    error = (given - wanted).square().mean() / (wanted - wanted.mean(0)).square().mean()
    assert result.quality is not None
    assert result.quality.value == pytest.approx(float(error) ** 0.5, rel=1e-4)
    assert result.quality.value <= 0.5
    assert result.pcr > 1.1
    with pytest.raises(tp.TensorpressError, match=r"network answers \(16, 4, 4\).*output_error"):
        compressed(tp.Budget(agreement=0.9), net)


def test_agreement_on_a_single_class_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    budget = tp.Budget(agreement=0.9)
    judge_of(budget, NET, HELD, None)
    assert capsys.readouterr().err == ""
    constant = nn.Sequential(NET, nn.Threshold(1e9, 0.0))
    judge_of(budget, constant, HELD, None)
    told = " ".join(capsys.readouterr().err.split())
    assert told.startswith("the network gives all 48 images held back the same class, so that")


def test_a_score_drops_no_more_than_asked() -> None:
    scored: list[float] = []
    labelled, labels = images(200, seed=3)

    @torch.no_grad()
    def score(model: nn.Module) -> float:
        with evaluating(model):
            right = model(labelled).argmax(1) == labels
        scored.append(100 * float(right.double().mean()))
        return scored[-1]

    result = compressed(tp.Budget(max_drop=8), score=score)
    assert scored[0] > 80
    assert result.quality is not None
    assert result.quality.value == pytest.approx(scored[0] - scored[-1])
    assert result.quality.value <= 8
    assert min(scored) < scored[0] - 8
    assert result.summary().endswith(" points")
    with pytest.raises(tp.TensorpressError, match=r"score= gave nan"):
        compressed(tp.Budget(max_drop=8), score=lambda _: float("nan"))


def test_auto_and_other_methods_are_taken() -> None:
    budget, methods = tp.Budget(agreement=0.9), ("ttpwt", "spatial-svd")
    result = compressed(budget, method="auto", methods=methods, include=["2"])
    assert agreement(result.model) >= 0.9
    assert {row.method for row in result.layers} <= {None, *methods}


class Clock:
    """Seconds that follow the parameters."""

    def __init__(self, net: Any, _inputs: Any, *, runtime: str, threads: int, batch: int) -> None:
        self.net, self.asked = net, (runtime, threads, batch)
        self.threads, self.batch = 1, 1

    def layer_seconds(self, chains: Any, _on_step: Any = None) -> Any:
        count = {name: sum(p.numel() for p in chain.parameters()) for name, chain in chains.items()}
        return {name: (seconds, 16 * 16 * 9) for name, seconds in count.items()}

    def network_seconds(self, chains: Any) -> tuple[float, float]:
        spared = sum(whole - taken for taken, whole in self.layer_seconds(chains).values())
        return 5000 - spared, 5000


def test_with_a_runtime_it_is_as_fast_as_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def asked_faster(ratio: float) -> tp.Budget:
        asked.append(ratio)
        return faster(ratio)

    monkeypatch.setattr(timed, "ChainClock", Clock)
    monkeypatch.setattr(by_quality, "faster", asked_faster)
    result = compressed(tp.Budget(agreement=0.9, runtime="torch"), include=["2"])
    assert agreement(result.model) >= 0.9
    assert result.pcr > 1.2
    assert asked
    assert result.time is not None
    assert result.time.before == 5e6
    assert result.time.milliseconds < 5e6


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "beside a ratio": ({"agreement": 0.9, "params": 2}, r"agreement=, params=\): a quality is"),
    "two": ({"agreement": 0.9, "max_drop": 2}, "give one of them"),
    "percent": ({"agreement": 98}, r"agreement=98\): give a share above 0 and of at most 1"),
    "nothing": ({"output_error": 0}, r"output_error=0\): give a number above 0"),
    "nan": ({"max_drop": float("nan")}, "give points above 0"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
def test_budgets_that_make_no_sense(given: dict[str, Any], message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        tp.Budget(**given)


def test_what_it_is_judged_by_has_to_be_given() -> None:
    budget, by_score = tp.Budget(agreement=0.9), tp.Budget(max_drop=1)
    with pytest.raises(tp.TensorpressError, match=r"agreement 90 %.*give calibration="):
        tp.compress(NET, IMAGE, budget=budget)
    with pytest.raises(tp.TensorpressError, match="drop 1 is of a score: give score="):
        compressed(by_score)
    with pytest.raises(tp.TensorpressError, match="score= is for Budget"):
        compressed(budget, score=lambda _: 1.0)
    with pytest.raises(tp.TensorpressError, match="allocate has to stay on"):
        compressed(budget, recover=tp.Recovery(allocate=False, distil_epochs=0))
    with pytest.raises(tp.TensorpressError, match="not times or qualities"):
        compressed(budget, method="l1")


@pytest.mark.parametrize(
    "budget",
    [tp.Budget(agreement=0.98, runtime="openvino", batch=8), tp.Budget(max_drop=1.5)],
    ids=str,
)
def test_it_goes_to_options_and_json_and_back(budget: tp.Budget) -> None:
    request = Request(budget=budget)
    assert Request.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    assert read_options(Request, given_by(request)[0]) == request
