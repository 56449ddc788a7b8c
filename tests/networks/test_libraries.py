"""Networks of other libraries by name: of stand-ins for them, and of those that are installed."""

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.networks import build
from tensorpress.networks.libraries import LIBRARIES, in_library

TIMM = """
import types
import torch
from torch import nn

_CONFIG = types.SimpleNamespace(
    input_size=(3, 40, 40), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), num_classes=7
)
models = types.SimpleNamespace(is_model_pretrained=lambda name: name == "net")
list_models = lambda: ["net", "untrained"]
is_model = lambda name: name in list_models()
get_pretrained_cfg = lambda name: _CONFIG

def create_model(name, pretrained=False, num_classes=7, in_chans=3):
    if pretrained and name != "net":
        raise RuntimeError("no connection\\nat all")
    net = nn.Sequential(
        nn.Conv2d(in_chans, 8, 3), nn.Conv2d(8, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, num_classes),
    )
    if pretrained:
        nn.init.constant_(net[0].weight, 0.25)
    return net
"""

Write = Callable[[str, str], None]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Puts a module in the place of a library."""

    def write(name: str, text: str) -> None:
        (tmp_path / f"{name}.py").write_text(text)
        for module in [m for m in sys.modules if m.partition(".")[0] == name]:
            monkeypatch.delitem(sys.modules, module)

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in LIBRARIES:
        sys.modules.pop(name, None)


def test_only_names_of_libraries_are_taken_for_them() -> None:
    assert in_library("timm:resnet50") == (LIBRARIES["timm"], "resnet50")
    assert in_library("my_nets:timm") is None
    assert in_library("timm") is None


def test_weights_classes_and_channels(library: Write) -> None:
    library("timm", TIMM)
    net = build("timm:net", 5, 1)
    assert isinstance(net, nn.Sequential)
    assert (net[0].in_channels, net[4].out_features) == (1, 5)
    assert not bool((net[0].weight == 0.25).all())
    trained = build("timm:net", pretrained=True)
    assert isinstance(trained, nn.Sequential)
    assert bool((trained[0].weight == 0.25).all())
    usual = LIBRARIES["timm"].usual("net")
    assert (usual.input_shape, usual.mean, usual.pretrained) == ((3, 40, 40), (0.1, 0.2, 0.3), True)


def test_a_new_last_layer_is_told(library: Write, capsys: pytest.CaptureFixture[str]) -> None:
    library("timm", TIMM)
    build("timm:net", 5, pretrained=True)
    assert "was trained on 7 classes" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("spec", "text", "message"),
    [
        ("timm:nat", TIMM, "timm has no network 'nat'; near it are net"),
        ("timm:untrained", TIMM, r"timm:untrained cannot be had \(RuntimeError: no connection\)"),
        ("timm:net", "raise RuntimeError('operator is not there')", "fits this PyTorch"),
        ("torchvision:net", "import a_module_that_is_not_there", "and cannot be imported"),
        ("ultralytics:yolov8n", "", r"such as yolov8n\.pt"),
        ("ultralytics:y.pt", "def YOLO(name): raise OSError('gone')", r"y\.pt cannot be had"),
    ],
)
def test_what_is_wrong_is_one_line(spec: str, text: str, message: str, library: Write) -> None:
    library(spec.partition(":")[0], text)
    with pytest.raises(tp.TensorpressError, match=message) as told:
        build(spec, pretrained=True)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(tp.TensorpressError, match=f"which is not installed: pip install {name}"):
        build(f"{name}:net.pt")


def test_what_torchvision_says_of_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    crop = SimpleNamespace(crop_size=[288], mean=[0.1] * 3, std=[0.2] * 3)
    best = SimpleNamespace(transforms=lambda: crop, meta={"categories": ["a", "b"]})

    def get_model(name: str, weights: object, **given: int) -> nn.Module:
        made.append((name, weights, given))
        return nn.Identity()

    models = SimpleNamespace(
        list_models=lambda: ["net", "bare"],
        get_model_weights={"net": SimpleNamespace(DEFAULT=best), "bare": None}.get,
        get_model=get_model,
    )
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(models=models))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    known = LIBRARIES["torchvision"]
    assert known.usual("net").input_shape == (3, 288, 288)
    assert known.usual("bare").pretrained is False
    build("torchvision:net", pretrained=True)
    build("torchvision:net", 5)
    assert made == [("net", best, {}), ("net", None, {"num_classes": 5})]
    with pytest.raises(tp.TensorpressError, match=r"are of 2 classes, and 5 are asked for"):
        build("torchvision:net", 5, pretrained=True)
    with pytest.raises(tp.TensorpressError, match=r"takes images of 3 channels, not 1"):
        build("torchvision:net", 2, 1, pretrained=True)


@pytest.mark.parametrize(
    "spec", ["timm:resnet18", "torchvision:resnet18", "ultralytics:yolov8n.yaml"]
)
def test_those_that_are_installed(spec: str) -> None:
    name, _, network = spec.partition(":")
    try:
        importlib.import_module(name)
    except Exception as error:
        pytest.skip(f"{name}: {error}")
    usual = LIBRARIES[name].usual(network)
    net = build(spec).eval()
    image = torch.zeros(1, *usual.input_shape[:1], 64, 64)
    assert tp.count(net, image).macs > 0
    assert len(usual.mean) == len(usual.std) == 3
