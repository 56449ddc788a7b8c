import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.artifacts import LayerEntry, read_manifest
from tensorpress.layers import Factorized

HALF = tp.Energy(0.5)


class Net(nn.Module):
    """A convolution in two places, tied linears, buffers, a branch with groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3)
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.again = self.body[0]
        self.grouped = nn.Conv2d(16, 32, 3, groups=2, bias=False)
        self.a, self.b = nn.Linear(32, 32), nn.Linear(32, 32)
        self.b.weight = self.a.weight
        self.register_buffer("scale", torch.full((), 3.0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.grouped(self.again(self.body(self.stem(x)))).mean((2, 3))
        return self.b(self.a(x)) * self.scale


def image(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(1, 3, 10, 10).to(dtype)


def trained(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(seed)
    net = Net()
    net(torch.randn(4, 3, 10, 10))
    return net.to(dtype).eval()


def compressed(dtype: torch.dtype = torch.float32) -> nn.Module:
    return tp.compress(trained(0, dtype), image(dtype), rank=HALF, linear=True).model


def assert_same_state(a: nn.Module, b: nn.Module) -> None:
    one, two = a.state_dict(), b.state_dict()
    assert one.keys() == two.keys()
    for name in one:
        assert one[name].dtype == two[name].dtype
        assert torch.equal(one[name], two[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.half, torch.bfloat16])
def test_round_trip_is_exact(dtype: torch.dtype, tmp_path: Path) -> None:
    model, into = compressed(dtype), trained(1, dtype)
    tp.save(model, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=into)
    assert loaded is into
    assert_same_state(loaded, model)
    x = image(dtype)
    with torch.no_grad():
        assert torch.equal(loaded(x), model(x))


def test_structure_is_rebuilt_not_only_weights(tmp_path: Path) -> None:
    model = compressed()
    tp.save(model, str(tmp_path / "net.tp"))
    loaded = tp.load(str(tmp_path / "net.tp"), into=trained(1))
    assert isinstance(loaded.body[0], Factorized)
    assert loaded.again is loaded.body[0]
    assert loaded.a.weight is loaded.b.weight
    assert (loaded.grouped.method, loaded.grouped.ranks) == ("ttpwt", model.grouped.ranks)
    assert loaded.grouped.pointwise_in.groups == 2
    assert str(loaded) == str(model)


def test_mode_grad_and_dtype_are_those_of_into(tmp_path: Path) -> None:
    tp.save(compressed(), tmp_path / "net.tp")
    into = trained(1).double().train().requires_grad_(False)
    loaded = tp.load(tmp_path / "net.tp", into=into)
    assert {p.dtype for p in loaded.parameters()} == {torch.float64}
    assert all(module.training for module in loaded.modules())
    assert not any(p.requires_grad for p in loaded.parameters())
    expected = compressed().state_dict()
    assert all(torch.equal(v, expected[n].to(v.dtype)) for n, v in loaded.state_dict().items())


def test_network_that_is_one_layer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 24, 8, 8)
    model = tp.compress(nn.Conv2d(24, 24, 3), x, rank=HALF, skip_first=False).model
    tp.save(model, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=nn.Conv2d(24, 24, 3))
    assert isinstance(loaded, Factorized)
    assert_same_state(loaded, model)


class OfAVersion(nn.Sequential):
    """A network that refuses weights of which no version is told, as torchvision's MNASNet does."""

    _version = 2

    def _load_from_state_dict(self, state: Any, prefix: str, told: Any, *rest: Any) -> None:
        if told.get("version") != 2:
            raise ValueError(f"version is {told.get('version')}")
        super()._load_from_state_dict(state, prefix, told, *rest)


def test_networks_that_ask_for_their_version(tmp_path: Path) -> None:
    net = OfAVersion(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3))
    small = tp.compress(net, torch.zeros(1, 3, 8, 8), rank=tp.Energy(0.5)).model
    tp.save(small, tmp_path / "net.tp")
    fresh = OfAVersion(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3))
    assert_same_state(tp.load(tmp_path / "net.tp", into=fresh), small)


def test_network_that_was_not_compressed(tmp_path: Path) -> None:
    tp.save(trained(0), tmp_path / "net.tp")
    assert read_manifest(tmp_path / "net.tp").layers == {}
    assert_same_state(tp.load(tmp_path / "net.tp", into=trained(1)), trained(0))


def test_compressed_twice(tmp_path: Path) -> None:
    once = tp.compress(trained(), image(), rank=HALF, include=["grouped"]).model
    twice = tp.compress(once, image(), rank=HALF).model
    tp.save(twice, tmp_path / "net.tp")
    assert_same_state(tp.load(tmp_path / "net.tp", into=trained(1)), twice)


def transposed(net: nn.Module) -> None:
    net.stem.weight = nn.Parameter(net.stem.weight.detach().transpose(2, 3))


def channels_last(net: nn.Module) -> None:
    net.to(memory_format=torch.channels_last)


def a_view(net: nn.Module) -> None:
    net.scale = torch.arange(9.0)[4]
    net.a.bias = nn.Parameter(torch.randn(64)[::2])


def overlapping(net: nn.Module) -> None:
    base = torch.randn(40)
    net.a.bias, net.b.bias = nn.Parameter(base[:32]), nn.Parameter(base[8:])


def expanded(net: nn.Module) -> None:
    net.a.bias = nn.Parameter(torch.ones(1).expand(32))


@pytest.mark.parametrize("lay_out", [transposed, channels_last, a_view, overlapping, expanded])
def test_layouts_in_memory(lay_out: Callable[[nn.Module], None], tmp_path: Path) -> None:
    model = compressed_without_linears()
    lay_out(model)
    tp.save(model, tmp_path / "net.tp")
    assert_same_state(tp.load(tmp_path / "net.tp", into=trained(1)), model)


def compressed_without_linears() -> nn.Module:
    return tp.compress(trained(), image(), rank=HALF).model


def test_shared_tensors_are_stored_once(tmp_path: Path) -> None:
    tp.save(compressed(), tmp_path / "net.tp")
    manifest = read_manifest(tmp_path / "net.tp")
    assert manifest.aliases["b.weight"] == "a.weight"
    with safe_open(tmp_path / "net.tp", framework="pt") as file:
        stored = set(file.keys())
    assert not stored & manifest.aliases.keys()
    assert stored | manifest.aliases.keys() == compressed().state_dict().keys()


def test_equal_tensors_that_are_not_shared_stay_apart(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1))
    net[1].load_state_dict(net[0].state_dict())
    tp.save(net, tmp_path / "net.tp")
    assert read_manifest(tmp_path / "net.tp").aliases == {}


def test_tensors_that_into_shares_must_be_equal_in_the_file(tmp_path: Path) -> None:
    model, into = compressed_without_linears(), trained(1)
    model.b.weight = nn.Parameter(model.a.weight.detach().clone())
    tp.save(model, tmp_path / "net.tp")
    assert_same_state(tp.load(tmp_path / "net.tp", into=into), model)
    model.b.weight.data.mul_(2)
    tp.save(model, tmp_path / "net.tp")
    with pytest.raises(tp.TensorpressError, match=r"'a\.weight' and 'b\.weight' are shared"):
        tp.load(tmp_path / "net.tp", into=trained(1))


def test_manifest_says_what_is_in_the_file(tmp_path: Path) -> None:
    model = compressed()
    source = {"network": "mine:make", "mean": [0.5, 0.25, 0.125], "nested": {"a": None}}
    tp.save(model, tmp_path / "net.tp", source=source)
    manifest = read_manifest(str(tmp_path / "net.tp"))
    assert manifest.source == source
    assert manifest.tool == tp.__version__
    assert manifest.layers == {
        "body.0": LayerEntry("ttpwt", model.body[0].ranks),
        "grouped": LayerEntry("ttpwt", model.grouped.ranks),
    }


SCRIPT = """
import sys, torch, tensorpress as tp
torch.manual_seed(0)
net = tp.networks.resnet20()
model = tp.compress(net, torch.zeros(1, 3, 8, 8), rank=tp.Energy(0.5), exclude=["layer3.*"]).model
tp.save(model, sys.argv[1], source={"b": 1, "a": [2, 3]})
"""


def test_bytes_are_the_same_in_two_processes(tmp_path: Path, monkeypatch: Any) -> None:
    """This one, whose hashes are salted at random, and one of another salt."""
    one, other = tmp_path / "one" / "net.tp", tmp_path / "other" / "net.tp"
    salt = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = os.environ | {"PYTHONHASHSEED": salt, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", SCRIPT, one], check=True, env=environment)
    monkeypatch.setattr(sys, "argv", ["-c", other])
    exec(SCRIPT, {})
    assert one.read_bytes() == other.read_bytes()


class Noted(nn.Conv2d):
    def get_extra_state(self) -> Any:
        return {"note": "x"}

    def set_extra_state(self, state: Any) -> None:
        pass


UNSAVABLE: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "extra state": (lambda: Noted(3, 4, 3), "'_extra_state' in the network's state is a dict"),
    "meta": (lambda: nn.Conv2d(3, 4, 3, device="meta"), "'weight' is on the meta device"),
    "complex128": (lambda: nn.Conv2d(3, 4, 3, dtype=torch.complex128), "torch.complex128"),
    "sparse": (
        lambda: nn.ParameterDict({"a": nn.Parameter(torch.eye(3).to_sparse())}),
        "'a' has the layout torch.sparse_coo",
    ),
}


@pytest.mark.parametrize(("build", "message"), UNSAVABLE.values(), ids=UNSAVABLE)
def test_what_cannot_be_saved(build: Callable[[], nn.Module], message: str, tmp_path: Path) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        tp.save(build(), tmp_path / "net.tp")
    assert not list(tmp_path.iterdir())


def test_a_network_without_memory_takes_no_weights(tmp_path: Path) -> None:
    tp.save(nn.Linear(3, 4), tmp_path / "net.tp")
    with pytest.raises(tp.TensorpressError, match="'weight' of the network is on the meta device"):
        tp.load(tmp_path / "net.tp", into=nn.Linear(3, 4, device="meta"))


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"bytes"])
def test_source_must_be_json(value: Any, tmp_path: Path) -> None:
    with pytest.raises(tp.TensorpressError, match="source must hold JSON values"):
        tp.save(trained(), tmp_path / "net.tp", source={"note": value})
    assert not list(tmp_path.iterdir())
