import dataclasses
import resource
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from nets import tiny
from torch import Tensor, nn
from torch.export import ExportedProgram

import tensorpress as tp
from tensorpress.deploy import FORMATS

IMAGE = torch.zeros(1, 3, 12, 12)
SUFFIXES = [kind.suffix for kind in FORMATS.values()]


class Layer(nn.Module):
    """A layer from a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Counts(nn.Module):
    """Gives another answer at every call."""

    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


def with_layer(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.ReLU(), layer))


def branching(x: Tensor) -> Tensor:
    return x if x.sum() > 0 else -x


def assert_refused(message: str, net: nn.Module, path: Path, *args: Any, **options: Any) -> None:
    """One line that says ``message``, and nothing new on the disk."""
    root = path.parent if path.parent.is_dir() else path.parent.parent
    before = {file: file.read_bytes() for file in root.rglob("*") if file.is_file()}
    folders = [file for file in root.rglob("*") if file.is_dir()]
    with pytest.raises(tp.TensorpressError, match=message) as refused:
        tp.export(net, path, *(args or (IMAGE,)), **options)
    assert "\n" not in str(refused.value)
    assert {file: file.read_bytes() for file in root.rglob("*") if file.is_file()} == before
    assert [file for file in root.rglob("*") if file.is_dir()] == folders


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("net", {}, r"net: the name of an exported file ends in one of \.onnx \(onnx\), \.pt2"),
        ("net.pth", {}, r"ends in one of \.onnx"),
        ("net.onnx", {"format": "tensorrt"}, "no format 'tensorrt'; there is: onnx, pt2, openvino"),
        ("net.onnx", {"format": "pt2"}, r"no file of the format 'pt2': end its name in \.pt2"),
    ],
)
def test_names(path: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    assert_refused(message, tiny()[0], tmp_path / path, **options)


@pytest.mark.parametrize(
    ("suffix", "missing", "pip"),
    [
        (".onnx", "onnx", "onnx"),
        (".onnx", "onnxscript", "onnx"),
        (".onnx", "onnxruntime", "onnx"),
        (".xml", "openvino", "openvino"),
    ],
)
def test_a_missing_runtime(
    suffix: str, missing: str, pip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = rf"needs {missing}, .*pip install 'tensorpress\[{pip}\]'$"
    assert_refused(message, tiny()[0], tmp_path / f"net{suffix}")


@pytest.mark.parametrize("place", ["file/net.pt2", "/proc/nowhere/net.pt2"])
def test_a_place_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(tp.TensorpressError, match=r"cannot write .*: .*choose another place"):
        tp.export(tiny()[0], tmp_path / place, IMAGE)
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("name", ["x" * 300 + ".pt2", "\0.pt2"])
def test_a_name_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(tp.TensorpressError, match=r"is no name of a file: choose another"):
        tp.export(tiny()[0], tmp_path / name, IMAGE)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "net.pt2").mkdir()
    assert_refused("is a folder: give the name of a file", tiny()[0], tmp_path / "net.pt2")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            Layer(branching),
            r"layer '1\.1' \(Layer\) cannot be exported \(.*\): its path depends on the values of "
            "a tensor, and a file holds one path only",
        ),
        (Layer(lambda x: torch.geqrf(x)[0]), r"layer '1\.1' .*aten\.geqrf"),
        (Layer(lambda x: torch.from_numpy(x.detach().numpy() * 2)), r"layer '1\.1' .*numpy"),
        (Layer(torch.randn_like), "not equal to the network: .*random numbers"),
        (Counts(), r"not equal to the network: on random inputs of \(\d, 3, 12, 12\) they"),
        (Layer(lambda x: x / 0), "something else than finite tensors"),
    ],
    ids=["branching", "operator", "numpy", "random", "stateful", "nan"],
)
def test_what_cannot_be_exported(layer: nn.Module, message: str, tmp_path: Path) -> None:
    assert_refused(message, with_layer(layer), tmp_path / "new" / "net.pt2")


class Answers(nn.Module):
    """Gives something else beside its logits."""

    def __init__(self, other: object) -> None:
        super().__init__()
        self.layers, self.other = tiny()[0], other

    def forward(self, images: Tensor) -> dict[str, object]:
        return {"other": self.other, "logits": self.layers(images)}


@pytest.mark.parametrize(
    ("other", "named"), [(3, "int"), (1.5, "float"), ("name", "str"), (True, "bool")]
)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_answer_that_holds_more_than_tensors(
    other: object, named: str, suffix: str, tmp_path: Path
) -> None:
    message = f"answer holds {named} beside its tensors, .* wrap it in a module that returns those"
    assert_refused(message, Answers(other), tmp_path / f"net{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_none_in_an_answer_is_left_out(suffix: str, tmp_path: Path) -> None:
    tp.export(Answers(None), tmp_path / f"net{suffix}", IMAGE)
    assert (tmp_path / f"net{suffix}").is_file()


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_an_operator_that_a_format_lacks(suffix: str, tmp_path: Path) -> None:
    message = r"cannot be written as \w+ \(\w+: No .* found for .*svd.*\); try another"
    assert_refused(message, with_layer(Layer(torch.linalg.svdvals)), tmp_path / f"net{suffix}")


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ((), r"example_inputs: give a tensor, several as a tuple, .* not \(\)"),
        (3, "example_inputs: give a tensor, .* not 3"),
        ((IMAGE, 2.0), r"example_inputs\[1\] is 2\.0, and an exported file takes tensors only"),
        ({"input": None}, r"example_inputs\['input'\] is None"),
        (torch.zeros(0, 3, 12, 12), "is empty"),
        (torch.zeros(1, 4, 12, 12), r"does not run on the example inputs \(\(1, 4, 12, 12\)"),
        (IMAGE.double(), r"an input is in torch\.float64, and onnx files"),
    ],
    ids=str,
)
def test_inputs(inputs: Any, message: str, tmp_path: Path) -> None:
    assert_refused(message, tiny()[0], tmp_path / "net.onnx", inputs)


@pytest.mark.parametrize("other", [torch.zeros(2, 3, 13, 12), IMAGE.half(), (IMAGE, IMAGE)])
def test_inputs_to_check_that_are_not_alike(other: Any, tmp_path: Path) -> None:
    message = r"check_inputs are .* and the example inputs \(1, 3, 12, 12\) torch\.float32"
    assert_refused(message, tiny()[0], tmp_path / "net.pt2", IMAGE, check_inputs=other)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_networks(tmp_path: Path) -> None:
    net, _ = tiny()
    path = tmp_path / "net.onnx"
    assert_refused(r"the network is in torch\.bfloat16.*\.float\(\)", net.bfloat16(), path)
    assert_refused("is lazy", nn.Sequential(nn.LazyConv2d(3, 3)), path)
    assert_refused("scripted or traced", torch.jit.trace(net.float(), IMAGE), path)
    assert_refused("cannot be copied to the CPU", nn.Conv2d(3, 3, 3, device="meta"), path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_not_equal_is_not_written_and_an_old_one_stays(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (kind,) = (kind for kind in FORMATS.values() if kind.suffix == suffix)

    def write_altered(program: ExportedProgram, path: Path) -> None:
        with torch.no_grad():
            program.state_dict["7.bias"] = nn.Parameter(program.state_dict["7.bias"] + 1e-3)
        kind.write(program, path)

    path = tmp_path / f"net{suffix}"
    path.write_text("old")
    path.with_suffix(".bin").write_text("old weights")
    altered = dataclasses.replace(kind, write=write_altered)
    monkeypatch.setitem(FORMATS, kind.name, altered)
    assert_refused("not equal to the network: .* more than 1e-04", tiny()[0], path)


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """As on a full disk, no file can get larger than 5,000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_noise_gives_is_held_to_what_the_inputs_give(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A detector that finds nothing in noise gives next to nothing there, all of it rounding."""
    kind = FORMATS["pt2"]

    def rounded(path: Path) -> Callable[[Any], list[Tensor]]:
        run = kind.read(path)
        return lambda feed: [output + 1e-6 for output in run(feed)]

    monkeypatch.setitem(FORMATS, "pt2", dataclasses.replace(kind, read=rounded))
    finds = Layer(lambda x: 1e-4 * x.mean((1, 2, 3)) + (x.mean((1, 2, 3)) - 5).relu()).eval()
    assert_refused("they differ by", finds, tmp_path / "net.pt2")
    seen = 10 + torch.rand(2, 3, 12, 12)
    for examples, options in ((IMAGE, {"check_inputs": seen}), (seen, {})):
        report = tp.export(finds, tmp_path / "net.pt2", examples, **options)
        assert 0 < report.worst < 1e-6


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.usefixtures("small_files_only")
def test_a_full_disk_leaves_the_old_files(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_text("old")
    path.with_suffix(".bin").write_text("old weights")
    assert_refused(r"cannot write .*\. Free some space or choose another", tiny()[0], path)
