import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from command import without_lines
from runtimes import run_file
from torch import nn

import tensorpress as tp
from tensorpress.cli import main

Command = Callable[..., tuple[int, str, str]]

NET = """
from torch import nn

def make(num_classes=10, in_channels=3):
    return nn.Sequential(
        nn.Conv2d(in_channels, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


@pytest.fixture
def tensorpress(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Command:
    """``tensorpress export ARGUMENTS`` in a folder with small.tp and the net that it is of."""
    (tmp_path / "export_nets.py").write_text(NET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "export_nets", raising=False)
    torch.manual_seed(0)
    net = tp.networks.build("export_nets:make", 10, 1)
    small = tp.compress(net, torch.zeros(1, 1, 8, 8), rank=tp.Energy(0.5)).model
    source = {"network": "export_nets:make", "input_shape": [1, 8, 8]}
    tp.save(small, tmp_path / "small.tp", source=source)
    tp.save(small, tmp_path / "odd.tp", source=source | {"input_shape": []})
    torch.save(net.state_dict(), tmp_path / "dense.pth")

    without_lines(monkeypatch)

    def call(arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tensorpress", "export", *arguments.split()])
        capfd.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
        assert isinstance(code, int)
        return code, *capfd.readouterr()

    return call


OWN = "--net export_nets:make"
SMALL = f"{OWN} --compressed small.tp"


def test_a_compressed_network_into_a_folder_checked_on_images(
    tensorpress: Command, tmp_path: Path
) -> None:
    code, out, err = tensorpress(f"{SMALL} --format pt2 --data digits -o OUT")
    assert (code, err) == (0, "")
    assert out.startswith("file     OUT/model.pt2\nformat   pt2\n")
    assert "given   64x1x8x8  differ by" in out
    net = tp.load("small.tp", into=tp.networks.build("export_nets:make", 10, 1))
    images = torch.randn(7, 1, 8, 8)
    (found,) = run_file(tmp_path / "OUT" / "model.pt2", images)
    torch.testing.assert_close(found, net.eval()(images))


def test_the_shape_is_what_the_file_remembers_or_the_option_says(
    tensorpress: Command, tmp_path: Path
) -> None:
    for option, size in (("", 8), ("--input-shape 1,9,9", 9)):
        assert tensorpress(f"{SMALL} {option} --batch 2 -o net.pt2")[0] == 0
        (found,) = run_file(tmp_path / "net.pt2", torch.zeros(2, 1, size, size))
        assert found.shape == (2, 10)
    with pytest.raises(RuntimeError):
        run_file(tmp_path / "net.pt2", torch.zeros(3, 1, 9, 9))
    more_than_there_are = f"{SMALL} --batch 400 --data digits -o net.pt2"
    assert "given   400x1x8x8" in tensorpress(more_than_there_are)[1]


def test_a_dense_network(tensorpress: Command, tmp_path: Path) -> None:
    code, out, err = tensorpress(f"{OWN} --weights dense.pth --input-shape 1,8,8 -o net.onnx")
    assert (code, err) == (0, "")
    assert "onnxruntime" in out
    net = tp.load_weights(tp.networks.build("export_nets:make", 10, 1), "dense.pth").eval()
    images = torch.randn(2, 1, 8, 8)
    (found,) = run_file(tmp_path / "net.onnx", images)
    torch.testing.assert_close(found, net(images))


def test_a_file_that_remembers_a_normalisation_needs_no_data(
    tensorpress: Command, tmp_path: Path
) -> None:
    small = tp.load("small.tp", into=tp.networks.build("export_nets:make", 10, 1))
    source = {"input_shape": [1, 8, 8], "mean": [0.3], "std": [0.4]}
    tp.save(small, tmp_path / "trained.tp", source=source)
    code, out, err = tensorpress(f"{OWN} --compressed trained.tp -o net.pt2")
    assert (code, err) == (0, "")
    assert "random  1x1x8x8" in out


def weighted(net: nn.Module) -> int:
    return sum(isinstance(module, (nn.Conv2d, nn.Linear)) for module in net.modules())


@pytest.mark.usefixtures("measured_once")
def test_int8(tensorpress: Command, tmp_path: Path) -> None:
    int8 = f"{SMALL} --precision int8 --calibrate digits --mean 0 --std 1"
    code, out, err = tensorpress(f"{int8} --min-agreement 0 -o small.onnx")
    assert (code, err) == (0, "")
    assert "\nint8     " in out
    assert "\nchecked  calibration: agreement " in out
    net = tp.load("small.tp", into=tp.networks.build("export_nets:make", 10, 1)).eval()
    images = torch.rand(7, 1, 8, 8)
    (found,) = run_file(tmp_path / "small.onnx", images)
    expected = net(images)
    assert 1e-5 < float((found - expected).abs().max() / expected.abs().max()) < 0.2
    code, out, err = tensorpress(f"{int8} --min-agreement 0 --as-stored -o stored.onnx")
    assert (code, err) == (0, "")
    assert "fastest" not in out
    assert f"\nint8     {weighted(net)} of {weighted(net)} layers\n" in out
    code, out, err = tensorpress(f"{int8} --min-agreement 1 -o perfect.onnx")
    if code:  # its classes are all but the same, of random weights
        assert "an agreement of 1 is asked for: there is no plan, and nothing is written" in err
        assert not (tmp_path / "perfect.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (f"{SMALL} --precision int8 -o net.onnx", "--precision int8 and --calibrate go together"),
        (f"{SMALL} --calibrate digits -o net.onnx", "--precision int8 and --calibrate go together"),
        (f"{SMALL} --precision int9 --calibrate digits -o net.onnx", "written in 'f32' or 'int8'"),
        (f"{SMALL} --as-stored --planned 1 -o net.onnx", "--as-stored and --planned exclude"),
        (f"{SMALL}", "-o is missing: give a file, such as model.onnx, or a folder"),
        (f"{SMALL} -o OUT", "--format is missing: give onnx, pt2, openvino, or end -o in .onnx"),
        (f"{SMALL} --format tflite -o OUT", "no --format tflite; there is: onnx, pt2, openvino"),
        (f"{SMALL} --format onnx -o net.pt2", "net.pt2 is no file of the format 'onnx'"),
        (f"{SMALL} --weights dense.pth -o net.pt2", "both given"),
        ("--compressed small.tp -o net.pt2", "name it with --net"),
        (f"{OWN} --compressed gone.tp -o net.pt2", "there is no file gone.tp"),
        (f"{OWN} --compressed odd.tp -o net.pt2", "damaged: its input_shape is []"),
        (f"{OWN} --weights gone.pth -o net.pt2", "no weight file gone.pth"),
        ("-o net.pt2", "--net is missing"),
        (f"{SMALL} --mean 0.5 -o net.pt2", "give --data too"),
        ("--net resnet20 -o net.pt2", "--weights is missing"),
        (f"{SMALL} --input-shape 1,x -o net.pt2", "'x' is no whole number"),
        (f"{SMALL} --input-shape 1,9,9 --data digits -o net.pt2", "not that of the data, 1,8,8"),
        (f"{SMALL} --input-shape 1,2,2 -o net.pt2", "does not run on the example inputs"),
        (f"{SMALL} -o small.tp/net.pt2", "small.tp is a file, not a folder"),
    ],
)
def test_bad_input(arguments: str, message: str, tensorpress: Command, tmp_path: Path) -> None:
    before = listed(tmp_path)
    code, out, err = tensorpress(arguments)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err
    assert listed(tmp_path) == before


def listed(folder: Path) -> list[Path]:
    """What a folder holds, but for what Python compiles there."""
    return sorted(entry for entry in folder.iterdir() if entry.name != "__pycache__")


def test_a_planned_file(tensorpress: Command, tmp_path: Path) -> None:
    small = "--compressed small.tp --net export_nets:make"
    code, out, err = tensorpress(f"{small} --planned 2 -o planned.onnx")
    assert (code, err) == (0, "")
    assert "onnxruntime" in out
    assert "batch 2" in out
    assert (tmp_path / "planned.onnx").exists()
