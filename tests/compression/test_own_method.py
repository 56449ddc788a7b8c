"""Methods of one's own: objects, treated like built-in ones, and read without their code."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from convs import relative, shifted, with_kernels
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from zoo import image, plain

import tensorpress as tp
from tensorpress import methods
from tensorpress.artifacts.manifest import KEY
from tensorpress.layers import Replacement
from tensorpress.layers.kernels import shifted_kernels
from tensorpress.layers.kinds import macs_of


class PointwiseFirst(methods.TrainDecomposition):
    """1x1 to R channels, then the spatial kernel to all channels out."""

    name = "pointwise-first"

    def links(self, layer: methods.Layer) -> tuple[methods.Link, ...]:
        inside, outside = methods.group_channels(layer)
        axes, area = methods.spatial_axes(layer), math.prod(methods.kernel_size(layer))
        return (
            methods.Link("pointwise", (), inside),
            methods.Link("spatial", axes, area * outside),
        )


class Scaled(Replacement):
    """A layer whose weight is a sign for each entry and one number for each output channel."""

    def __init__(self, layer: nn.Conv2d, method: str) -> None:
        super().__init__()
        self._method, self.ranks = method, (1,)
        self.conv = layer
        self.scale = nn.Parameter(torch.ones(layer.out_channels))

    @property
    def method(self) -> str:
        return self._method

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight.sign() * self.scale[:, None, None, None]
        maps: Tensor = self.conv._conv_forward(x, weight, self.conv.bias)
        return maps


@dataclass(frozen=True)
class ScaledFit:
    """The option: what XNOR-Net (Rastegari et al., 2016) makes of a kernel."""

    layer: nn.Conv2d
    name: str
    ranks: tuple[int, ...] = (1,)
    clamped: bool = False
    remark: str = ""

    @property
    def relative_error(self) -> float:
        return relative(self.layer.weight.detach(), self._weight())

    @property
    def kept_energy(self) -> float:
        return 1 - self.relative_error**2

    def _weight(self) -> Tensor:
        weight = self.layer.weight.detach()
        return weight.sign() * weight.abs().mean((1, 2, 3), keepdim=True)

    def to_module(self, layer: Any, *, balanced: bool = False) -> Scaled:  # noqa: ARG002
        made = Scaled(nn.Conv2d(**_options(layer)), self.name)
        made.conv.load_state_dict(layer.state_dict())
        made.scale.data.copy_(layer.weight.detach().abs().mean((1, 2, 3)))
        return made.train(layer.training)

    def kernels(self, layer: Any) -> Tensor:
        other = nn.Conv2d(**_options(layer))
        other.weight.data.copy_(self._weight())
        return shifted_kernels(other).double()

    def with_bias(self, bias: Tensor) -> "ScaledFit":
        other = nn.Conv2d(**_options(self.layer))
        other.load_state_dict({**self.layer.state_dict(), "bias": bias})
        return replace(self, layer=other)

    def with_clamped(self, clamped: bool) -> "ScaledFit":
        return replace(self, clamped=clamped)

    def cost(self, layer: Any, inputs: Sequence[Sequence[int]]) -> tuple[int, int]:
        bits = math.ceil(layer.weight.numel() / 32)
        return bits + 2 * layer.out_channels, macs_of(layer, inputs)


class Binary(methods.Treatment):
    name = "binary"
    saves_macs = False
    rules = (tp.Ranks,)

    def why_not(self, layer: nn.Module) -> str | None:
        return super().why_not(layer) or (None if type(layer) is nn.Conv2d else "no Conv2d")

    def prepare(self, layer: Any, metric: methods.Metric = methods.KERNEL) -> methods.Fitter:  # noqa: ARG002
        return lambda _rule: ScaledFit(layer, self.name)

    def build(self, layer: Any, ranks: Sequence[int], device: Any = None) -> Scaled:  # noqa: ARG002
        return Scaled(nn.Conv2d(**_options(layer)), self.name).to(device)


def _options(layer: nn.Conv2d) -> dict[str, Any]:
    names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups")
    return {name: getattr(layer, name) for name in names} | {"bias": layer.bias is not None}


MINE = PointwiseFirst()
X = image()


class WidthFirst(methods.TrainDecomposition):
    """Along the width with the channels in, then along the height with those out."""

    name = "width-first"

    def links(self, layer: methods.Layer) -> tuple[methods.Link, ...]:
        (inside, outside), (d1, d2) = methods.group_channels(layer), methods.kernel_size(layer)
        return methods.Link("w", (1,), inside * d2), methods.Link("h", (0,), d1 * outside)


def answers(net: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = net.eval()(inputs)
    return outputs


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 12, 3, stride=2, padding=1, groups=2),
        nn.ConvTranspose2d(8, 12, (3, 2), stride=2, output_padding=1),
        nn.Conv1d(8, 12, 3, padding=1, padding_mode="circular"),
        nn.Linear(8, 12),
    ],
)
def test_an_object_factorizes_every_kind_of_layer(layer: nn.Module) -> None:
    chain = tp.factorize(layer, method=MINE, rank=tp.Energy(1.0))
    inputs = torch.randn(2, 8, *[7] * (layer.weight.dim() - 2))
    assert relative(answers(layer, inputs), answers(chain, inputs)) < 1e-5
    assert (chain.method, len(chain)) == ("pointwise-first", 2)
    low = tp.factorize(layer, method=MINE, rank=tp.Ranks(2))
    if isinstance(layer, nn.Conv2d):
        cut = []
        for kernel in shifted(layer):
            u, s, v = torch.linalg.svd(torch.from_numpy(kernel).flatten(1), full_matrices=False)
            cut.append(((u[:, :2] * s[:2]) @ v[:2]).reshape(kernel.shape).numpy())
        expected = answers(with_kernels(layer, cut), inputs)
        assert relative(expected, answers(low, inputs)) < 1e-5


def test_links_in_another_order_of_the_axes_are_exact_too() -> None:
    layer = nn.Conv2d(6, 8, (3, 4), stride=(2, 1), padding=1, groups=2, dtype=torch.float64)
    inputs = torch.randn(2, 6, 9, 9, dtype=torch.float64)
    chain = tp.factorize(layer, method=WidthFirst(), rank=tp.Energy(1.0))
    assert [tuple(part.kernel_size) for part in chain] == [(1, 4), (3, 1)]  # type: ignore[union-attr]
    assert relative(answers(layer, inputs), answers(chain, inputs)) < 1e-10
    low = tp.factorize(layer, method=WidthFirst(), rank=tp.Ranks(2))
    cut = []
    for kernel in shifted(layer):
        turned = torch.from_numpy(kernel).movedim(1, 2)  # (C, D2, D1, T)
        u, s, v = torch.linalg.svd(turned.reshape(3 * 4, 3 * 4), full_matrices=False)
        cut.append(((u[:, :2] * s[:2]) @ v[:2]).reshape(turned.shape).movedim(1, 2).numpy())
    expected = answers(with_kernels(layer, cut), inputs)
    assert relative(expected, answers(low, inputs)) < 1e-10


def made(*links: Any, **more: Any) -> methods.TrainDecomposition:
    """A method with these links for a Conv2d(4, 6, (3, 2))."""
    attributes = {"name": "mine", "links": lambda *_: links, **more}
    kind = type("Mine", (methods.TrainDecomposition,), attributes)
    return kind()  # type: ignore[no-any-return]


FIRST, LAST = methods.Link("a", (), 4), methods.Link("b", (0, 1), 36)
SILLY: dict[str, tuple[Any, str]] = {
    "none": (made(), "at least two Links"),
    "one": (made(methods.Link("a", (0, 1), 144)), "at least two Links"),
    "no links": (made("a", "b"), "at least two Links"),
    "twins": (made(FIRST, methods.Link("a", (0, 1), 36)), "names differ"),
    "a dotted name": (made(FIRST, methods.Link("b.c", (0, 1), 36)), "names differ"),
    "a name of modules": (made(FIRST, methods.Link("forward", (0, 1), 36)), "names differ"),
    "an axis missing": (made(FIRST, methods.Link("b", (0,), 18)), "each of these belongs to one"),
    "an axis twice": (made(methods.Link("a", (0,), 12), LAST), "each of these belongs to one"),
    "an axis that is not there": (made(FIRST, methods.Link("b", (0, 1, 7), 36)), "each of these"),
    "falling axes": (made(FIRST, methods.Link("b", (1, 0), 36)), "each of these"),
    "other modes": (made(FIRST, methods.Link("b", (0, 1), 35)), "have the modes"),
    "no name": (made(FIRST, LAST, name=None), "Mine has no name"),
    "a name of two lines": (made(FIRST, LAST, name="a\nb"), "Mine has no name"),
    "a criterion's name": (made(FIRST, LAST, name="l1"), "criterion to prune by"),
}


@pytest.mark.parametrize("kind", SILLY)
def test_methods_that_make_no_sense_are_refused_in_one_line(kind: str) -> None:
    method, words = SILLY[kind]
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 6, (3, 2)))
    with pytest.raises(tp.TensorpressError, match=words) as caught:
        tp.compress(net, torch.zeros(1, 3, 8, 8), method=method, rank=tp.Energy(0.5))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("methods_given", [5, None, "abc", [5], [PointwiseFirst]])
def test_what_is_no_list_of_treatments_is_refused(methods_given: Any, tmp_path: Path) -> None:
    tp.save(plain(), tmp_path / "net.tp")
    with pytest.raises(tp.TensorpressError, match="methods= takes a list of treatments"):
        tp.load(tmp_path / "net.tp", into=plain(), methods=methods_given)


@pytest.mark.parametrize("how", ["rule", "budget", "images"])
def test_it_is_compressed_saved_and_planned_like_a_built_in_one(how: str, tmp_path: Path) -> None:
    net = plain().eval()
    options: dict[str, Any] = {"rank": tp.Energy(0.5)}
    if how != "rule":
        options = {"budget": tp.Budget(macs=1.5)}
    if how == "images":
        options |= {"calibration": torch.randn(32, *X.shape[1:]), "recover": False}
    result = tp.compress(net, X, method=MINE, **options)
    treated = [row for row in result.layers if row.method]
    assert treated
    assert {row.method for row in treated} == {row.decision for row in treated} == {MINE.name}
    assert result.request["method"] == MINE.name
    tp.save(result, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=plain())
    assert str(loaded.eval()) == str(result.model.eval())
    assert torch.equal(answers(loaded, X), answers(result.model, X))
    run = tp.plan(result.model, X, threads=1, cache=False)
    torch.testing.assert_close(run(X), answers(result.model, X), rtol=1e-3, atol=1e-3)
    again = tp.compress(loaded, X, rank=tp.Ranks(1, 1, 1))
    assert "ttpwt, was pointwise-first" in [row.decision for row in again.layers]


def test_a_treatment_that_is_no_decomposition(tmp_path: Path) -> None:
    net = plain().eval()
    result = tp.compress(net, X, method=Binary(), rank=tp.Ranks(1))
    treated = {row.name: row for row in result.layers if row.method}
    assert set(treated) == {"2", "5"}
    for name, row in treated.items():
        weight = net.get_submodule(name).weight.detach()
        signs = weight.sign() * weight.abs().mean((1, 2, 3), keepdim=True)
        assert row.relative_error == pytest.approx(relative(weight, signs))
        net.get_submodule(name).weight.data.copy_(signs)
    torch.testing.assert_close(answers(result.model, X), answers(net, X))
    tp.save(result, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=plain(), methods=[Binary()])
    assert torch.equal(answers(loaded, X), answers(result.model, X))
    with pytest.raises(tp.TensorpressError, match=r"'binary' is not known here: give it as meth"):
        tp.load(tmp_path / "net.tp", into=plain())


def test_pruned_then_treated_by_it_loads_into_the_original(tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    pruned = tp.prune(plain().eval(), X, budget=tp.Budget(macs=1.5))
    result = tp.compress(pruned, X, method=MINE, rank=tp.Energy(0.5))
    tp.save(result, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=plain())
    assert torch.equal(answers(loaded, X), answers(result.model, X))


def test_the_name_of_a_built_in_method_is_refused() -> None:
    class Twin(PointwiseFirst):
        name = "ttpwt"

    with pytest.raises(tp.TensorpressError, match="Twin has the name 'ttpwt', which is that of a"):
        tp.compress(plain(), X, method=Twin(), rank=tp.Energy(0.5))
    result = tp.compress(plain(), X, method=methods.TTPWT(), rank=tp.Energy(0.5))
    assert any(row.method == "ttpwt" for row in result.layers)


@pytest.fixture
def content(tmp_path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    result = tp.compress(plain(), X, method=MINE, rank=tp.Energy(0.5))
    tp.save(result, tmp_path / "net.tp")
    with safe_open(tmp_path / "net.tp", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()[KEY]), tensors


DAMAGED: dict[str, tuple[Any, str]] = {
    "no list": ({}, "damaged"),
    "empty": ([], "damaged"),
    "a name that is a path": ([{"name": "a.b", "channels": [8, 8], "axes": []}], "damaged"),
    "a number that is none": ([{"name": "a", "channels": [8, "8"], "axes": []}], "damaged"),
    "too many": ([{"name": "a", "channels": [8, 2**40], "axes": []}], "damaged"),
    "a negative axis": ([{"name": "a", "channels": [8, 8], "axes": [-1]}], "damaged"),
    "twins": ([{"name": "a", "channels": [24, 24], "axes": []}] * 2, "damaged"),
    "a name of modules": ([{"name": "forward", "channels": [8, 8], "axes": []}], "damaged"),
    "blocks that do not join": (
        [
            {
                "name": "b",
                "count": 1,
                "minor": False,
                "sublayers": [
                    {"name": "c", "channels": [24, 3], "axes": []},
                    {"name": "d", "channels": [5, 24], "axes": [0, 1]},
                ],
            }
        ],
        "hands on 3 channels where 5 are taken",
    ),
    "widths that do not meet": (
        [{"name": "a", "channels": [3, 2], "axes": [0, 1]}],
        "hands on .* channels",
    ),
    "axes that it has not": (None, "works along the axes"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_layouts_are_refused_in_one_line(
    kind: str, content: tuple[dict[str, Any], dict[str, Tensor]], tmp_path: Path
) -> None:
    manifest, tensors = content
    layout, words = DAMAGED[kind]
    name = next(iter(manifest["layers"]))
    entry = manifest["layers"][name]
    if layout is None:
        layout = [{**part, "axes": [0, 1, 2]} for part in entry["layout"]]
    manifest["layers"][name] = {**entry, "layout": layout}
    save_file(tensors, tmp_path / "damaged.tp", {KEY: json.dumps(manifest)})
    with pytest.raises(tp.TensorpressError, match=words) as caught:
        tp.load(tmp_path / "damaged.tp", into=plain())
    assert "\n" not in str(caught.value)
