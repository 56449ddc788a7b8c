import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from requests_made import budgets, json_values, recoveries, requests, rules, sayable
from torch import nn

import tensorpress as tp
from tensorpress.compression import Request
from tensorpress.decompose import RankRule
from tensorpress.errors import TensorpressError
from tensorpress.request.request import Calibration
from tensorpress.settings import given_by, read_options

FIXTURES = Path(__file__).parents[1] / "artifacts" / "fixtures"
KEYS = tuple(Request().to_dict())


@given(requests)
def test_a_request_goes_to_json_and_back(request: Request) -> None:
    written = json.dumps(request.to_dict(), allow_nan=False)
    read = Request.from_dict(json.loads(written))
    assert read == request
    if isinstance(request.rank, dict):
        assert list(read.rank) == list(request.rank)  # type: ignore[arg-type] # the first counts


@given(sayable)
def test_options_say_a_request_and_it_says_them(request: Request) -> None:
    options, unsaid = given_by(request)
    assert not unsaid
    assert read_options(Request, options) == request


@given(requests, sayable)
def test_options_win_over_what_they_are_read_over(base: Request, request: Request) -> None:
    options, _ = given_by(request)
    read = read_options(Request, options, base)
    for name in ("round_to", "include", "exclude", "skip_first", "linear", "balance", "method"):
        expected = getattr(request if name in options else base, name)
        assert getattr(read, name) == expected
    assert (read.seed, read.calibration) == (base.seed, base.calibration)


@given(rules | budgets(), recoveries, st.integers(16, 999))
def test_earlier_texts_are_read(
    amount: RankRule | tp.Budget, recovery: tp.Recovery, images: int
) -> None:
    key = "budget" if isinstance(amount, tp.Budget) else "rank"
    steps = {"images": images, **recovery.__dict__}
    other = "rank" if key == "budget" else "budget"
    held = {"method": "tucker2", key: repr(amount), other: None, "calibration": steps}
    read = Request.from_dict(held)
    assert getattr(read, key) == amount
    assert (read.method, read.calibration) == ("tucker2", Calibration(images, recovery))
    if key == "rank":
        assert Request.from_dict({"rank": {"a*": repr(amount)}}).rank == {"a*": amount}


def test_earlier_forms_are_read() -> None:
    short = Request.from_dict({"budget": "Budget(params=4.0, macs=None)"})
    assert short.budget == tp.Budget(params=4)
    run = Request.from_dict({"calibration": {"images": 32, "recover": False}})
    assert run.calibration == Calibration(32, tp.Recovery(distil_epochs=0))
    assert Request.from_dict({"method": "k-means", "clusters": 8}).settings == {"clusters": 8}
    pruned = Request.from_dict({"method": "taylor", "images": 9, "labels": True, "seed": 3})
    assert (pruned.settings, pruned.seed) == ({"images": 9, "labels": True}, 3)
    assert Request.from_dict({"method": "tt", "rank": "(1, 20, 20)"}).settings == {
        "rank": "(1, 20, 20)"
    }


@pytest.mark.parametrize("name", ["version1.tp", "version2.tp"])
def test_requests_of_earlier_files_are_read(name: str) -> None:
    account = tp.artifacts.read_manifest(FIXTURES / name).account
    if account is not None:
        assert Request.from_dict(account["request"]) == Request(
            method="ttpwt", rank=tp.Ranks(4, 5, 4)
        )


def test_a_request_of_the_first_version_means_ttpwt_where_it_says_no_method() -> None:
    budget = {"params": 4.0}
    wanted = Request(method="ttpwt", budget=tp.Budget(params=4.0))
    assert Request.from_dict({"version": 1, "budget": budget}) == wanted
    assert Request.from_dict({"version": 2, "budget": budget}).method is None
    other = Request.from_dict({"version": 1, "method": "tucker2", "budget": budget})
    assert other == Request(method="tucker2", budget=tp.Budget(params=4.0))


DAMAGED: dict[str, tuple[Any, str]] = {
    "a list": ([], "the request is .*an object"),
    "a text": ("Energy(tau=0.8)", "the request is"),
    "later": ({"version": 3}, "version is 3: .*up to version 2"),
    "no version": ({"version": None}, "version is None"),
    "version true": ({"version": True}, "version is True"),
    "unknown key": ({"ranks": [1]}, "'ranks' is no key of it; there is: version, rank"),
    "key of another method": ({"method": "ttpwt", "images": 9}, "'images' is no key"),
    "a long key": ({"r" * 9999: 1}, "'rrr"),
    "method": ({"method": 3}, "method is 3: give a text"),
    "skip_first": ({"skip_first": 0}, "skip_first is 0: give true or false"),
    "round_to": ({"round_to": True}, "round_to is True: give a whole number"),
    "include": ({"include": "a"}, "include is 'a': give a list"),
    "in include": ({"include": [3]}, "include is 3: give a text"),
    "rank": ({"version": 1, "rank": "Energy(tau=0.8)"}, "rank is 'Energy.*give a rule"),
    "old rank": ({"rank": "Energy(tau=__import__('os'))"}, "rank is .Energy.*give a rule"),
    "old rank twice": ({"rank": "Energy(tau=0.1, tau=0.2)"}, "rank is"),
    "old rank of range": ({"rank": "Energy(tau=8)"}, r"Energy\(8\)"),
    "no rule": ({"rank": {"rule": "Best"}}, "rank.rule is 'Best'.*there is: Energy"),
    "rule's key": ({"rank": {"rule": "Energy", "eps": 1}}, "'rank.eps' is no key.*tau"),
    "no tau": ({"rank": {"rule": "Energy"}}, "rank.tau is missing"),
    "tau": ({"rank": {"rule": "Energy", "tau": "a"}}, "rank.tau is 'a': give a number"),
    "tau nan": ({"rank": {"rule": "Energy", "tau": float("nan")}}, "rank.tau is nan"),
    "tau 2": ({"rank": {"rule": "Energy", "tau": 2}}, r"Energy\(2\).*at most 1"),
    "ranks": ({"rank": {"rule": "Ranks", "values": 3}}, "rank.values is 3: give a list"),
    "no ranks": ({"rank": {"rule": "Ranks", "values": []}}, "at least one rank"),
    "pattern": ({"rank": {"a*": 3}}, r"rank.a\* is 3: give a rule"),
    "in pattern": ({"rank": {"a": {"rule": "Energy", "tau": []}}}, r"rank.a.tau is \[\]"),
    "budget": ({"budget": 4}, "budget is 4: give an object"),
    "budget's key": ({"budget": {"param": 4}}, "'budget.param' is no key"),
    "budget of nothing": ({"budget": {}}, "give params="),
    "budget under 1": ({"budget": {"params": 0.5}}, "at least 1"),
    "threads": ({"budget": {"macs": 2, "threads": 1.5}}, "budget.threads is 1.5"),
    "huge": ({"budget": {"macs": 10**5000}}, "budget.macs is too large a number"),
    "calibration": ({"calibration": True}, "calibration is True: give an object"),
    "images": ({"calibration": {}}, "calibration.images is missing"),
    "few images": ({"calibration": {"images": 3}}, "at least 16 images, and 3"),
    "sweeps": ({"calibration": {"images": 32, "sweeps": -1}}, "sweeps=-1"),
    "step": ({"calibration": {"images": 32, "distill": 1}}, "'calibration.distill' is no key"),
    "huge seed": ({"seed": 10**5000}, "seed is too large a number"),
    "huge version": ({"version": 10**5000}, "version is too large a number"),
    "settings": ({"settings": [1]}, "settings is .*give an object"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_requests_are_refused_in_one_line(content: Any, message: str) -> None:
    with pytest.raises(TensorpressError, match=message) as caught:
        Request.from_dict(content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@given(st.dictionaries(st.sampled_from(KEYS) | st.text(), json_values, max_size=3) | json_values)
@example({"a\nb": 1})
@example({"rank": {"a\nb": 3}})
@example({"rank": {"a\nb": {"rule": "a\nb"}}})
@example({"method": "a\nb", "budget": "a\nb"})
def test_whatever_a_file_holds_is_read_or_refused(content: Any) -> None:
    refusal = ""
    try:
        read = Request.from_dict(content)
        assert Request.from_dict(read.to_dict()) == read
    except TensorpressError as error:
        refusal = str(error)
    assert "\n" not in refusal


def test_a_rule_of_ones_own_is_recorded_but_not_read() -> None:
    class Mine(tp.Energy):
        pass

    held = Request(rank=Mine(0.5)).to_dict()
    assert "Mine(tau=0.5)" in held["rank"]["rule"]
    with pytest.raises(TensorpressError, match="no such rank rule"):
        Request.from_dict(json.loads(json.dumps(held)))


def test_what_compress_was_asked_for_asks_for_the_same() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 8, 3)
    )
    image = torch.zeros(1, 3, 12, 12)
    rank = {"1": tp.Energy(0.5), "*": tp.Ranks(3, 4, 3)}
    account = tp.compress(net, image, rank=rank, exclude=[net[3]], balance=True, round_to=2)
    read = Request.from_dict(json.loads(json.dumps(account.to_dict()["request"])))
    wanted = Request(method="ttpwt", rank=rank, exclude=("<Conv2d>",), balance=True, round_to=2)
    assert read == wanted
    arguments = {**read.arguments(), "exclude": ["3"]}
    again = tp.compress(net, image, **arguments)
    assert again.layers == account.layers


@pytest.mark.parametrize("request_", [Request(seed=3), Request(settings={"clusters": 4})])
def test_what_compress_does_not_take_is_told(request_: Request) -> None:
    with pytest.raises(TensorpressError, match="compress takes none"):
        request_.arguments()
