"""Networks, images and files in int8 that are not what they usually are."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy.export_report import ExportReport
from tensorpress.deploy.planning.setting import read_keep_float
from tensorpress.graphs import read_graph_network

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytestmark = pytest.mark.usefixtures("measured_once")

IMAGES = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), *pooled).eval()


def written(model: nn.Module, folder: Path, **options: Any) -> ExportReport:
    given = {"calibration": IMAGES, "planned": False, "min_agreement": 0.5, **options}
    return tp.export(model.eval(), folder / "a.onnx", IMAGES[:1], precision="int8", **given)


def refused(message: str, model: nn.Module, folder: Path, **options: Any) -> None:
    with pytest.raises(tp.TensorpressError, match=message) as found:
        written(model, folder, **options)
    assert "\n" not in str(found.value)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("floor", [-1, 1.5, "x", float("nan")])
def test_a_floor_that_is_no_share(floor: Any, tmp_path: Path) -> None:
    refused("give a share from 0 to 1", net(), tmp_path, min_agreement=floor)


@pytest.mark.parametrize("planned", [True, False])
def test_images_that_are_all_alike_prove_nothing(planned: bool, tmp_path: Path) -> None:
    images = torch.ones_like(IMAGES)
    refused("the same for all", net(), tmp_path, calibration=images, planned=planned)


def test_outputs_that_are_not_finite(tmp_path: Path) -> None:
    images = torch.full((2, 3, 8, 8), torch.nan)
    refused("something else than finite", net(), tmp_path, check_inputs=images)


class InOne(nn.Module):
    """Gives no rows."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).reshape(1, -1)


def test_an_output_without_rows(tmp_path: Path) -> None:
    found = written(InOne(), tmp_path).fidelity
    assert found["calibration"].agreement is None
    assert found["calibration"].error < 0.1


def test_one_image_to_check_on_a_network_without_classes(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3))
    found = written(model, tmp_path, check_inputs=IMAGES[:1]).fidelity
    assert 0 < found["given"].error < 0.1


def test_transposed_convolutions_in_groups(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(8, 4, 2, groups=2))
    report = written(model, tmp_path)
    assert report.int8_layers == (1, 2)
    assert report.fidelity["calibration"].error < 0.1


def test_values_whose_squares_overflow(tmp_path: Path) -> None:
    model = net()
    with torch.no_grad():
        model[0].weight.mul_(1e20)
    assert written(model, tmp_path).fidelity["calibration"].error < 0.2


def test_all_layers_kept_in_float(tmp_path: Path) -> None:
    refused("no layer is left in int8", net(), tmp_path, keep_float="*")


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.conv(x * scale[:, None, None]).mean((2, 3))


def test_an_input_that_has_no_rows(tmp_path: Path) -> None:
    with pytest.raises(tp.TensorpressError, match="has no row for each image"):
        tp.export(
            Scaled().eval(),
            tmp_path / "a.onnx",
            (IMAGES[:2], torch.ones(3)),
            precision="int8",
            calibration=(IMAGES, torch.ones(40)),
        )


@pytest.mark.parametrize("opset", [9, 12])
@pytest.mark.parametrize("listed", [True, False])
def test_old_files(opset: int, listed: bool, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    shapes = {"w": (8, 3, 3, 3), "b": (8,), "u": (8, 8, 3, 3), "v": (5, 8), "c": (5,)}
    weights = {n: generator.normal(size=s).astype(np.float32) / 3 for n, s in shapes.items()}
    make = onnx.helper.make_node
    nodes = [
        make("Conv", ["x", "w", "b"], ["1"], name="one"),
        make("Conv", ["1", "u"], ["2"], name="two"),
        make("GlobalAveragePool", ["2"], ["3"], name="three"),
        make("Flatten", ["3"], ["4"], name="four"),
        make("Gemm", ["4", "v", "c"], ["y"], name="five", transB=1),
    ]
    infos = {"x": ("N", 3, 8, 8), **(shapes if listed else {})}
    told = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in infos.items()]
    output = onnx.helper.make_tensor_value_info("y", 1, ("N", 5))
    held = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = onnx.helper.make_graph(nodes, "g", told, [output], held)
    opsets = [onnx.helper.make_opsetid("", opset)]
    path = tmp_path / "old.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=6), path)
    report = written(read_graph_network(path), tmp_path)
    assert report.int8_layers == (3, 3)
    assert report.fidelity["calibration"].error < 0.2


@pytest.mark.parametrize("planned", [True, False])
def test_a_file_that_is_in_int8_already(planned: bool, tmp_path: Path) -> None:
    written(net(), tmp_path)
    again = read_graph_network(tmp_path / "a.onnx")
    (tmp_path / "more").mkdir()
    refused("in int8 already", again, tmp_path / "more", planned=planned)


def test_a_place_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    """So few images are refused where the work begins."""
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(tp.TensorpressError, match="it is a folder"):
        written(net(), tmp_path, planned=True, calibration=IMAGES[:2])


@pytest.mark.parametrize("planned", [True, False])
def test_weights_that_are_not_finite_are_named(planned: bool, tmp_path: Path) -> None:
    diverged = net()
    with torch.no_grad():
        diverged[2].weight[0, 0] = torch.nan
    refused("'2.weight' holds NaN or inf", diverged, tmp_path, planned=planned)


def test_images_that_cannot_be_read(tmp_path: Path) -> None:
    def images() -> Iterator[Tensor]:
        yield IMAGES
        raise FileNotFoundError(2, "No such file or directory", "gone.png")

    refused("calibration images cannot be read .*gone.png", net(), tmp_path, calibration=images())


def test_layers_stay_in_float_by_the_names_of_the_account() -> None:
    net = tp.networks.build("tt_conv_2")
    every = read_keep_float("*", net, "int8")
    (row, *_) = (name for name in every if name.endswith(".spatial"))
    layer = row.removesuffix(".spatial")
    assert layer not in every
    assert read_keep_float([layer], net, "int8") == (row,)
    assert read_keep_float([row], net, "int8") == (row,)
