"""int8 chosen together with the layers, through ``compress``; times themselves are made up."""

import copy
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from test_quality_budget import HELD, IMAGE, IMAGES, NET, compressed
from torch import nn

import tensorpress as tp
from tensorpress import artifacts
from tensorpress.compression import Request
from tensorpress.compression.targets import timed
from tensorpress.deploy.execution import Execution
from tensorpress.deploy.planning.quantised_network import QuantisedNetwork
from tensorpress.deploy.runtimes.graph_runtime import GraphRunner
from tensorpress.surgery import Account

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("measured_once")

BOTH = ("auto", "int8")
LAYERS = {"0": 432, "2": 2304, "5": 2304, "8": 1280}


class StillClock:
    """Seconds that follow the parameters, times a share where a layer is in int8."""

    share = 0.4
    threads, batch = 1, 1

    def __init__(self, *_: Any, **__: Any) -> None:
        self._in_float: set[str] | None = None

    def in_int8(self, _: Any, keep_float: Iterable[str] = ()) -> "StillClock":
        other = copy.copy(self)
        other._in_float = set(keep_float)
        return other

    def layer_seconds(self, chains: Any, on_step: Any) -> dict[str, tuple[float, float]]:
        on_step(1, 1)
        return {name: (_params(chain), LAYERS[name]) for name, chain in chains.items()}

    def fastest_ways(self, chains: Any) -> dict[str, Execution]:
        return {name: Execution((1,) * len(list(chain))) for name, chain in chains.items()}

    def network_seconds(self, chains: Any, _: Any = None) -> tuple[float, float]:
        taken = LAYERS | {name: _params(chain) for name, chain in chains.items()}
        if self._in_float is not None:
            taken = {n: s * (1 if n in self._in_float else self.share) for n, s in taken.items()}
        return float(sum(taken.values())), float(sum(LAYERS.values()))


def _params(chain: nn.Module) -> float:
    return float(sum(p.numel() for p in chain.parameters()))


@pytest.fixture(autouse=True)
def still_clock(monkeypatch: pytest.MonkeyPatch) -> type[StillClock]:
    monkeypatch.setattr(timed, "ChainClock", StillClock)
    return StillClock


def budget(**asked: Any) -> tp.Budget:
    return tp.Budget(**{"runtime": "onnxruntime", "precisions": BOTH, **asked})


def with_an_outlier() -> nn.Module:
    """Answers as NET does; what layer 2 gives and 5 takes has a channel a thousand times as large.

    Both round it with that range where they are in int8.
    """
    net = copy.deepcopy(NET)
    with torch.no_grad():
        norm, after = net[3], net[5]
        norm.weight[0] *= 1000.0
        norm.bias[0] *= 1000.0
        after.weight[:, 0] /= 1000.0
    return net


@cache
def in_int8_alone() -> Account:
    return compressed(budget(speedup=2.45))


def test_a_time_that_int8_alone_meets_takes_int8_alone() -> None:
    result = in_int8_alone()
    chosen = result.precision
    assert chosen is not None
    assert (chosen.name, chosen.in_float, chosen.in_int8, chosen.layers) == ("int8", (), 4, 4)
    assert chosen.before / chosen.milliseconds == pytest.approx(2.5)
    assert result.pcr == 1
    assert not any(row.method for row in result.layers)
    assert "int8 everywhere, nothing decomposed: 2.50x the speed" in str(result)
    assert "and not forms of layers, which were not measured" in str(result)
    assert "not needed for the budget" in str(result)
    assert result.time is None
    for key, value in NET.state_dict().items():
        assert torch.equal(result.model.state_dict()[key], value)


def test_time_to_spare_puts_sensitive_layers_back_into_float() -> None:
    result = compressed(budget(speedup=1.15), with_an_outlier())
    chosen = result.precision
    assert chosen is not None
    assert set(chosen.in_float[:2]) == {"2", "5"}
    assert 1.15 <= chosen.before / chosen.milliseconds < 2.5
    assert any(rival.startswith("auto, forms in ") for rival in chosen.rivals)
    assert result.pcr == 1
    assert f"int8 in {4 - len(chosen.in_float)} of 4 layers, nothing decomposed" in str(result)


def test_a_time_that_int8_alone_does_not_meet_takes_forms_besides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(StillClock, "share", 0.5)
    result = compressed(budget(speedup=2.8, precisions=("int8",)))
    chosen = result.precision
    assert chosen is not None
    assert chosen.name == "int8"
    assert chosen.before / chosen.milliseconds >= 2.8
    treated = sum(row.method is not None for row in result.layers)
    assert treated
    assert f"int8 everywhere, forms in {treated} of 4 layers" in str(result)


@pytest.mark.parametrize("asked", [{"speedup": 2.0}, {"agreement": 0.95}])
def test_a_network_without_layers_to_decompose_can_have_int8(asked: dict[str, float]) -> None:
    account = compressed(budget(**asked), exclude=["*"])
    assert account.precision is not None
    assert (account.precision.name, account.precision.in_float) == ("int8", ())
    assert "int8 everywhere, nothing decomposed: 2.50x the speed" in str(account)


def test_a_network_without_layers_to_decompose_says_so_where_int8_is_not_fast_enough() -> None:
    with pytest.raises(
        tp.TensorpressError, match=r"in int8 in onnxruntime: .* 2\.50 times as fast"
    ):
        compressed(budget(speedup=3.0, precisions=("int8",)), exclude=["*"])


def test_int8_that_is_slower_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StillClock, "share", 2.0)
    result = compressed(budget(speedup=1.5))
    assert result.precision is not None
    assert (result.precision.name, result.precision.in_float) == ("auto", ())
    assert "auto precision, no int8, forms in" in str(result)
    with pytest.raises(tp.TensorpressError, match=r"speedup 9 cannot be reached in int8"):
        compressed(budget(speedup=9, precisions=("int8",)))


def test_a_quality_is_kept_in_the_file_and_its_sensitive_layer_stays_in_float(
    tmp_path: Path,
) -> None:
    net = with_an_outlier()
    with torch.no_grad():
        wanted = net(HELD)
    result = compressed(budget(output_error=0.03, precisions=("int8",)), net, include=["2"])
    chosen = result.precision
    assert chosen is not None
    assert chosen.name == "int8"
    assert set(chosen.in_float[:2]) == {"2", "5"}
    assert len(chosen.in_float) < 4
    path = tmp_path / "net.onnx"
    options: dict[str, Any] = {"calibration": IMAGES, "min_agreement": 0, "progress": False}
    tp.export(result.model, path, IMAGE, precision="int8", keep_float=chosen.in_float, **options)
    session = onnxruntime.InferenceSession(path)
    found = torch.tensor(session.run(None, {session.get_inputs()[0].name: HELD.numpy()})[0])
    off = (found - wanted).square().sum() / (wanted - wanted.mean(0)).square().sum()
    assert result.quality is not None
    assert result.quality.value <= 0.03
    assert float(off) ** 0.5 <= 0.03
    makers = {o: node for node in onnx.load(path).graph.node for o in node.output}
    held = [
        n for n in makers.values() if n.op_type in ("Conv", "Gemm") and n.input[1] not in makers
    ]
    assert len(held) == len(chosen.in_float)


def test_the_fastest_network_that_keeps_a_quality_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    both = compressed(budget(agreement=0.95), include=["2"]).precision
    assert both is not None
    monkeypatch.setattr(StillClock, "share", 2.0)
    slow = compressed(budget(agreement=0.95), include=["2"])
    assert slow.precision is not None
    assert (both.name, slow.precision.name) == ("int8", "auto")
    assert both.milliseconds < slow.precision.milliseconds


def test_nothing_slower_than_the_network_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StillClock, "share", 1.1)
    result = compressed(budget(output_error=1e-4), include=["2"])
    assert result.precision is not None
    assert result.precision.name == "auto"
    assert result.precision.milliseconds == result.precision.before
    assert result.pcr == 1
    assert "auto precision, no int8, nothing decomposed: 1.00x the speed" in str(result)


def test_what_is_most_sensitive_comes_first() -> None:
    net = with_an_outlier()
    ready = QuantisedNetwork(net, IMAGE, IMAGES, runtime="onnxruntime", threads=1, ways={})
    assert ready.in_int8() == dict.fromkeys(LAYERS, True)
    assert ready.in_int8(["5"]) == dict.fromkeys(LAYERS, True) | {"5": False}
    assert set(ready.most_sensitive_first()[:2]) == {"2", "5"}
    with torch.no_grad():
        wanted = net(HELD)
        one, both = (
            (ready.executed(kept)(HELD) - wanted).square().mean() for kept in (["5"], ["2", "5"])
        )
    assert both < one / 10


def test_layers_that_are_kept_in_float_in_a_plan() -> None:
    options: dict[str, Any] = {"runtime": "onnxruntime", "progress": False, "cache": False}
    made = tp.plan(NET, IMAGE, precision="int8", calibration=IMAGES, keep_float=["[05]"], **options)
    assert isinstance(made.runner, GraphRunner)
    assert made.runner.int8_layers() == (2, 4)
    assert made.table.setting["in_float"] == ["0", "5"]
    with pytest.raises(tp.TensorpressError, match=r"keep_float 'head' fits no layer"):
        tp.plan(NET, IMAGE, precision="int8", calibration=IMAGES, keep_float="head", **options)
    with pytest.raises(tp.TensorpressError, match=r"keep_float= names layers .* int8"):
        tp.plan(NET, IMAGE, keep_float=["0"], **options)


def test_the_choice_is_kept_in_files(tmp_path: Path) -> None:
    result = in_int8_alone()
    asked = Request.from_dict(json.loads(json.dumps(dict(result.request)))).budget
    assert asked == budget(speedup=2.45)
    path = tmp_path / "model.tp"
    tp.save(result, path)
    account = artifacts.read_manifest(path).account
    assert account is not None
    assert result.precision is not None
    assert account["precision"] == json.loads(json.dumps(result.precision.to_dict()))
    altered = {**account, "precision": {**account["precision"], "threads": "\n"}}
    tp.save(result.model, path, account=altered)
    with pytest.raises(tp.TensorpressError, match="damaged"):
        artifacts.read_manifest(path)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"speedup": 2, "precisions": ("f32",)}, r"give some of 'auto' and 'int8'"),
        ({"speedup": 2, "precisions": ()}, r"give some of 'auto' and 'int8'"),
        ({"speedup": 2, "params": 2}, r"not by ratios"),
        ({"agreement": 0.9, "runtime": None}, r"a quality with runtime="),
        ({"speedup": 2, "runtime": "torch"}, r"torch computes in f32, bf16, not in int8"),
    ],
)
def test_what_int8_is_not_chosen_for(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(tp.TensorpressError, match=words) as refused:
        compressed(budget(**asked))
    assert "\n" not in str(refused.value)


def test_images_that_are_missing_or_too_few() -> None:
    with pytest.raises(tp.TensorpressError, match=r"int8 is chosen by .* give calibration="):
        tp.compress(NET, IMAGE, budget=budget(speedup=2))
    with pytest.raises(tp.TensorpressError, match=r"holds 32 .* 40 were given"):
        compressed(budget(speedup=2), calibration=IMAGES[:40])
