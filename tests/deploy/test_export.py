import copy
import re
from pathlib import Path

import onnx
import pytest
import torch
from exports import worst_in_f32
from nets import NETS, tiny
from runtimes import CORE, run_file
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy import FORMATS

SUFFIXES = [kind.suffix for kind in FORMATS.values()]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def assert_equal(found: list[Tensor], expected: Tensor) -> None:
    (output,) = found
    assert output.shape == expected.shape
    assert float((output - expected).abs().max()) < 1e-4 * float(expected.abs().max())


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", NETS)
def test_files_are_equal_to_the_network_at_every_batch_size(
    name: str, suffix: str, tmp_path: Path
) -> None:
    net, example = NETS[name]()
    path = tmp_path / f"net{suffix}"
    report = tp.export(net, path, example)
    assert worst_in_f32(report) < 1e-4
    for batch in (1, 2, 5):
        inputs = torch.randn(batch, *example.shape[1:])
        with torch.no_grad():
            assert_equal(run_file(path, inputs), net(inputs))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_network_stays_as_it_is_and_is_exported_in_eval_mode(
    suffix: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net, example = tiny()
    net.insert(1, nn.Dropout(0.5))
    net.train()
    net[2].eval()
    before = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    tp.export(net, tmp_path / f"net{suffix}", example, progress=False)
    assert capfd.readouterr() == ("", "")
    assert [module.training for module in net.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    with torch.no_grad():
        assert_equal(run_file(tmp_path / f"net{suffix}", example), net.eval()(example))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_several_inputs_and_outputs_by_keyword(suffix: str, tmp_path: Path) -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(3, 8, 3), nn.Conv2d(1, 8, 3)

        def forward(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
            return {"sum": self.left(a) + self.right(b), "mean": a.mean((1, 2, 3))}

    a, b = torch.randn(1, 3, 9, 9), torch.randn(1, 1, 9, 9)
    net = Two()
    path = tmp_path / f"net{suffix}"
    net.requires_grad_(False)
    report = tp.export(net, path, {"a": a, "b": b}, check_inputs={"a": a[[0, 0]], "b": b[[0, 0]]})
    in_f32 = [check.inputs for check in report.checks if check.precision == "f32"]
    assert in_f32 == ["random", "random", "given", "given"]
    if suffix == ".pt2":
        outputs = list(torch.export.load(path).module()(a=a, b=b).values())
    else:
        outputs = run_file(path, a, b)
    for found, expected in zip(outputs, net(a, b).values(), strict=True):
        assert_equal([found], expected)


def test_onnx_is_one_file_with_names_and_a_free_batch(tmp_path: Path) -> None:
    net, example = tiny()
    report = tp.export(net, tmp_path / "net.onnx", example)
    assert [file.name for file in tmp_path.iterdir()] == ["net.onnx"]
    model = onnx.load(tmp_path / "net.onnx", load_external_data=False)
    onnx.checker.check_model(model)
    (given,), (output,) = model.graph.input, model.graph.output
    sizes = [axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim]
    assert (given.name, sizes, output.name) == ("input", ["batch", 3, 12, 12], "output")
    weights = 4 * sum(value.numel() for value in net.parameters())
    assert weights < report.bytes == (tmp_path / "net.onnx").stat().st_size < weights + 6000


def test_openvino_keeps_sizes_and_names_and_a_free_batch(tmp_path: Path) -> None:
    net, example = tiny()
    report = tp.export(net, tmp_path / "net.xml", example)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["net.bin", "net.xml"]
    assert report.bytes == sum(file.stat().st_size for file in files)
    model = CORE.read_model(tmp_path / "net.xml")
    assert [str(model.input("input").partial_shape)] == ["[?,3,12,12]"]
    assert [str(model.output("output").partial_shape)] == ["[?,10]"]


def test_weights_too_large_for_onnx_go_into_a_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tensorpress.deploy.formats.onnx.MOST_BYTES_OF_WEIGHTS", 1000)
    net, example = tiny()
    report = tp.export(net, tmp_path / "net.onnx", example)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["net.onnx", "net.onnx.data"]
    assert report.bytes == sum(file.stat().st_size for file in files)
    assert worst_in_f32(report) < 1e-4


def test_files_hold_neither_example_inputs_nor_paths(tmp_path: Path) -> None:
    net, _ = tiny()
    marked = torch.full((1, 3, 12, 12), 1234.5)
    for suffix in SUFFIXES:
        tp.export(net, tmp_path / f"net{suffix}", marked, check_inputs=marked)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert marked[0, 0].numpy().tobytes() not in content
        assert str(Path(torch.__file__).parent).encode() not in content


def test_a_batch_that_is_not_dynamic_is_fixed(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(2, -1)

    inputs = torch.randn(2, 3, 4)
    with pytest.raises(tp.TensorpressError, match=r"give dynamic_batch=False, and example inputs"):
        tp.export(Fixed(), tmp_path / "net.pt2", inputs)
    report = tp.export(Fixed(), tmp_path / "net.pt2", inputs, dynamic_batch=False)
    assert [check.shapes for check in report.checks] == [((2, 3, 4),)]
    with pytest.raises(RuntimeError):
        run_file(tmp_path / "net.pt2", torch.randn(3, 3, 4))


def test_the_report_prints_what_was_checked(tmp_path: Path) -> None:
    net, example = tiny()
    text = str(
        tp.export(net, tmp_path / "net.pt2", example, check_inputs=torch.randn(11, 3, 12, 12))
    )
    assert re.fullmatch(
        rf"file     {tmp_path}/net.pt2\nformat   pt2\nbytes    [\d,]+\n"
        r"checked  random  1x3x12x12   differ by \S+\n"
        r"         random  3x3x12x12   differ by \S+\n"
        r"         given   1x3x12x12   differ by \S+\n"
        r"         given   11x3x12x12  differ by \S+\n"
        rf"with     torch {re.escape(torch.__version__)}",
        text,
    )


def test_a_parallel_network_is_exported_as_the_one_inside(tmp_path: Path) -> None:
    net, example = tiny()
    tp.export(nn.DataParallel(net), tmp_path / "net.pt2", example)
    with torch.no_grad():
        assert_equal(run_file(tmp_path / "net.pt2", example), net(example))


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_a_planned_file_is_the_network_as_it_runs_fastest(suffix: str, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.Flatten()).eval()
    x = torch.randn(1, 3, 8, 8)
    small = tp.compress(net, x, rank=tp.Ranks(2, 2, 2)).model
    path = tmp_path / f"planned{suffix}"
    report = tp.export(small, path, x, planned=True, progress=False)
    assert report.plan is not None
    assert {row.name for row in report.plan.rows} == {"2"}
    assert worst_in_f32(report) <= 1e-4
    assert_equal(run_file(path, torch.cat([x, x])), small(torch.cat([x, x])).detach())
    with pytest.raises(tp.TensorpressError, match="leaves the batch size free"):
        tp.export(small, path, x, planned=True, dynamic_batch=False)
