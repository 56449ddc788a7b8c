"""Files of networks whose inputs or outputs are not what they usually are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from plan_nets import conv
from runtimes import run_file
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.graphs import read_graph_network

pytestmark = pytest.mark.usefixtures("measured_once")

IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(5))
WAYS = [(".onnx", False), (".xml", False), (".onnx", True), (".xml", True)]
every_way = pytest.mark.parametrize(("suffix", "planned"), WAYS)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.head = conv(3, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).relu().mean((2, 3)))


class TakesOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, output: Tensor) -> Tensor:
        return self.net(output)


class HoldsOutputs(Net):
    def __init__(self) -> None:
        super().__init__()
        self.output_0 = nn.Parameter(torch.randn(5))
        self.register_buffer("output_1", torch.randn(5))

    def forward(self, x: Tensor) -> Any:
        return super().forward(x) + self.output_0, self.output_1 * x.mean((1, 2, 3))[:, None]


class LeavesTwoOut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net()

    def forward(self, _unused: Tensor, x: Tensor, _neither: Tensor) -> Tensor:
        return self.net(x)


class OneAtATime(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).relu().mean((2, 3)).reshape(1, 8))


class OfAConstant(Net):
    """A layer that is fed what the network holds, and called on images, too, or not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.other, self.idle = conv(3, 8, 3), conv(3, 8, 3)
        self.register_buffer("held", torch.randn(1, 3, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.other(self.held) * self.layer(self.held)
        return self.head((self.layer(x) * scale).mean((2, 3)))


def assert_gives(path: Path, net: nn.Module, *inputs: Tensor) -> None:
    with torch.no_grad():
        answer = net(*inputs)
    expected = [answer] if isinstance(answer, Tensor) else list(answer)
    for found, wanted in zip(run_file(path, *inputs), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


@every_way
@pytest.mark.parametrize("make", [TakesOutput, HoldsOutputs])
def test_names_that_outputs_have_too(
    make: type[nn.Module], suffix: str, planned: bool, tmp_path: Path
) -> None:
    net, path = make().eval(), tmp_path / f"a{suffix}"
    tp.export(net, path, IMAGES[:2], planned=planned)
    assert_gives(path, net, IMAGES[:2])


@every_way
def test_an_input_that_nothing_takes(suffix: str, planned: bool, tmp_path: Path) -> None:
    net, path = LeavesTwoOut().eval(), tmp_path / f"a{suffix}"
    given = (torch.randint(9, (2, 5)), IMAGES[:2], torch.randn(2, 4))
    tp.export(net, path, given, planned=planned)
    assert_gives(path, net, *given)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_a_layer_that_is_fed_a_constant(suffix: str, tmp_path: Path) -> None:
    net, path = OfAConstant().eval(), tmp_path / f"a{suffix}"
    report = tp.export(net, path, IMAGES[:2], planned=True)
    assert report.plan is not None
    assert [row.name for row in report.plan.rows] == ["layer", "other", "idle"]
    assert_gives(path, net, IMAGES[:3])


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_a_planned_network_that_takes_one_at_a_time(suffix: str, tmp_path: Path) -> None:
    net, path = OneAtATime().eval(), tmp_path / f"a{suffix}"
    report = tp.export(net, path, IMAGES[:1], planned=True, check_inputs=IMAGES[:3])
    assert {check.shapes for check in report.checks} == {((1, 3, 8, 8),)}
    assert {check.inputs for check in report.checks} == {"random", "given"}
    assert_gives(path, net, IMAGES[4:5])


@pytest.mark.parametrize("planned", [True, False])
def test_one_at_a_time_in_int8_with_images_to_check_on(planned: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"precision": "int8", "calibration": IMAGES, "min_agreement": 0.5}
    report = tp.export(
        OneAtATime(),
        tmp_path / "a.onnx",
        IMAGES[:1],
        check_inputs=IMAGES[:3],
        planned=planned,
        **options,
    )
    assert report.fidelity["given"].images == 3


@pytest.mark.parametrize("fixed", [1, 4])
@pytest.mark.parametrize("images", [1, 9])
def test_a_graph_of_a_fixed_batch_is_checked_on_other_numbers_of_images(
    fixed: int, images: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "fixed.onnx"
    tp.export(Net(), written, IMAGES[:fixed], dynamic_batch=False)
    graph = read_graph_network(written)
    report = tp.export(graph, tmp_path / "a.onnx", IMAGES[:fixed], check_inputs=IMAGES[:images])
    assert {check.shapes for check in report.checks} == {((fixed, 3, 8, 8),)}
    read = type(graph).forward
    far = IMAGES[min(images, 5) - 1]  # within the rows that are looked at

    def lies(self: Any, *given: Tensor) -> Any:
        wrong = (given[0] == far).all((1, 2, 3))
        return read(self, *given) + 10.0 * wrong[:, None]

    monkeypatch.setattr(type(graph), "forward", lies)
    with pytest.raises(tp.TensorpressError, match="on given inputs"):
        tp.export(graph, tmp_path / "b.onnx", IMAGES[:fixed], check_inputs=IMAGES[:images])
