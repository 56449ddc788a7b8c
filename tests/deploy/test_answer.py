"""Answers that are not finite, not tensors alone, or that change what they were asked."""

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plan_nets import conv
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy import FORMATS
from tensorpress.deploy.answer import comparable, largest_of, refuse_other_shapes
from tensorpress.deploy.check import relative_difference
from tensorpress.deploy.runtimes.torch_eager import TorchRunner

pytestmark = pytest.mark.usefixtures("measured_once")

SUFFIXES = [kind.suffix for kind in FORMATS.values()]
INF, NAN = torch.inf, torch.nan
IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Answers(nn.Module):
    """A network whose answer is made of logits by a function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = conv(3, 8, 3), nn.Linear(8, 5)
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(self.head(self.layer(x).relu().mean((2, 3))))


def masked(logits: Tensor) -> Tensor:
    return logits.masked_fill(torch.arange(5, device=logits.device) == 3, -INF)


def log_of_zero(logits: Tensor) -> Tensor:
    return (logits * 300).softmax(1).log()


@given(st.lists(st.sampled_from([-2.5, -1.0, 0.0, 3.0, INF, -INF, NAN]), min_size=1, max_size=6))
def test_an_answer_is_equal_to_itself(values: list[float]) -> None:
    answer = torch.tensor(values)
    assert relative_difference([answer], [answer.clone()]) == 0
    assert all(bool(side.isfinite().all()) for side in comparable(answer, answer))


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([1.0, 2.0], [NAN, 2.0]),
        ([0.0, 2.0], [NAN, 2.0]),
        ([1.0, 2.0], [INF, 2.0]),
        ([1.0, -INF], [1.2, -INF]),
        ([1.0, 2.0, -INF], [1.0, 2.0, 2.0]),
        ([1.0, 2.0, -INF], [1.0, -INF, -INF]),
        ([1.0, 2.0, -INF], [1.0, 2.0, INF]),
        ([1.0, 2.0, -INF], [1.0, 2.0, NAN]),
        ([NAN, 1.0], [NAN, 2.0]),
        ([-INF], [0.0]),
        ([1 + 1j], [1 + 2j]),
    ],
)
def test_answers_that_differ(expected: list[complex], found: list[complex]) -> None:
    assert relative_difference([torch.tensor(expected)], [torch.tensor(found)]) > 0.1


def test_the_logarithm_of_what_is_nearly_zero_is_near_that_of_zero() -> None:
    answer = torch.tensor([0.0, -103.2, -INF, -103.3])
    nearly = torch.tensor([0.0, -INF, -103.2, -103.3])
    assert relative_difference([answer], [nearly]) < 1e-2
    assert largest_of(answer) == pytest.approx(103.3)


@pytest.mark.parametrize("function", [masked, log_of_zero])
def test_a_plan_of_answers_with_infinite_values_is_held_against_the_network(
    function: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = Answers(function).eval()
    assert bool(net(IMAGES).isinf().any())
    assert tp.plan(net, IMAGES[:2], threads=1, cache=False).difference < 1e-4
    called = TorchRunner.__call__
    monkeypatch.setattr(TorchRunner, "__call__", lambda *given: [2 * y for y in called(*given)])
    with pytest.raises(tp.TensorpressError, match="does not give what the network gives"):
        tp.plan(net, IMAGES[:2], threads=1, cache=False)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_answers_with_infinite_values_are_exported(suffix: str, tmp_path: Path) -> None:
    assert tp.export(Answers(masked), tmp_path / f"net{suffix}", IMAGES[:1]).worst < 0.05


@pytest.mark.parametrize("function", [masked, log_of_zero])
def test_answers_with_infinite_values_in_int8(
    function: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    options: dict[str, Any] = {"precision": "int8", "planned": False, "calibration": IMAGES}
    report = tp.export(Answers(function), tmp_path / "a.onnx", IMAGES[:1], **options)
    found = report.fidelity["calibration"]
    assert found.agreement is not None
    assert found.agreement > 0.9
    assert math.isfinite(found.error)


@dataclasses.dataclass
class Unknown:
    logits: Tensor


@pytest.mark.parametrize(
    ("other", "named"),
    [(lambda y: (y, 3), "int"), (lambda y: {"y": y, "name": "a"}, "str"), (Unknown, "Unknown")],
)
def test_what_is_no_tensor_has_no_place_in_a_plan(other: Callable[..., Any], named: str) -> None:
    with pytest.raises(tp.TensorpressError, match=f"answer holds {named} beside its tensors"):
        tp.plan(Answers(other), IMAGES[:1], threads=1, cache=False)


@pytest.mark.parametrize("answer", [None, (), {"logits": None}])
def test_an_answer_without_tensors(answer: Any) -> None:
    with pytest.raises(tp.TensorpressError, match="answer holds no tensors"):
        tp.plan(Answers(lambda _: answer), IMAGES[:1], threads=1, cache=False)


def test_none_beside_tensors_is_left_out() -> None:
    plan = tp.plan(Answers(lambda y: (None, y)), IMAGES[:1], threads=1, cache=False)
    assert plan(IMAGES[:3]).shape == (3, 5)


class WritesIntoItsInput(Answers):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.mul_(3).sub_(1))


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime"])
def test_a_network_that_writes_into_its_input_is_planned(runtime: str) -> None:
    pytest.importorskip("onnxruntime")
    net, image = WritesIntoItsInput(nn.Identity()).eval(), IMAGES[:2].clone()
    plan = tp.plan(net, image, runtime=runtime, threads=1, cache=False)
    assert torch.equal(image, IMAGES[:2])
    with torch.no_grad():
        expected = net(IMAGES[:2].clone())
    assert torch.allclose(plan(IMAGES[:2].clone()), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_network_that_writes_into_its_input_is_exported(suffix: str, tmp_path: Path) -> None:
    image = IMAGES[:2].clone()
    tp.export(WritesIntoItsInput(nn.Identity()), tmp_path / f"a{suffix}", image, check_inputs=image)
    assert torch.equal(image, IMAGES[:2])


@pytest.mark.parametrize(
    ("image", "message"),
    [(IMAGES[:1].to("meta"), "on the meta device"), (IMAGES[:1].to_sparse(), "torch.sparse_coo")],
)
def test_example_inputs_without_values(image: Tensor, message: str, tmp_path: Path) -> None:
    for use in (tp.plan, lambda net, given: tp.export(net, tmp_path / "a.pt2", given)):
        with pytest.raises(tp.TensorpressError, match=f"is {message}: give a dense tensor"):
            use(Answers(nn.Identity()), image)


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_a_plan_that_is_called_on_other_inputs_says_so(runtime: str) -> None:
    pytest.importorskip("onnxruntime" if runtime == "torch" else runtime)
    plan = tp.plan(Answers(nn.Identity()), IMAGES[:1], runtime=runtime, threads=1, cache=False)
    with pytest.raises(tp.TensorpressError, match=r"not run on \(2, 7, 8, 8\) .* for \(1, 3, 8"):
        plan(torch.zeros(2, 7, 8, 8))
    with pytest.raises(TypeError, match="the plan takes tensors, not"):
        plan(IMAGES.numpy())


def test_complex_answers_are_refused_with_what_to_do(tmp_path: Path) -> None:
    class Spectrum(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.fft.rfft2(images)

    net, image = Spectrum(), torch.randn(1, 3, 8, 8)
    told = r"outputs of shape \(1, 3, 8, 5, 2\).*view_as_real"
    with pytest.raises(tp.TensorpressError, match=told):
        tp.export(net, tmp_path / "spectrum.onnx", image)
    assert not [*tmp_path.iterdir()]
    with pytest.raises(tp.TensorpressError, match=told):
        tp.plan(net, image, runtime="onnxruntime", cache=False, progress=False)


def test_outputs_of_another_number_are_told() -> None:
    one = torch.zeros(2, 3)
    with pytest.raises(
        tp.TensorpressError, match=r"it gives outputs of shape none, and .* \(2, 3\)\."
    ):
        refuse_other_shapes([one], [], "it")
