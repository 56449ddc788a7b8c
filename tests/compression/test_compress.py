import copy
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from convs import with_truncated_kernel
from numpy_train import numpy_truncated
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from zoo import SPECIMENS, Branches, ByWeight, InList, Specimen, Tied, Twice, image, plain

import tensorpress as tp
from tensorpress.layers import Factorized
from tensorpress.layers.folding import fold, is_foldable
from tensorpress.layers.taken_apart import take_apart
from tensorpress.surgery import Account, replace_layers

HALF = tp.Energy(0.5)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def snapshot(net: nn.Module) -> dict[str, Any]:
    """Everything of a network that compressing a copy of it must leave alone."""
    return {
        "state": {name: value.clone() for name, value in net.state_dict().items()},
        "modules": [(name, id(module)) for name, module in net.named_modules()],
        "modes": [module.training for module in net.modules()],
        "grads": [p.requires_grad for p in net.parameters()],
        "hooks": [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()],
    }


def assert_unchanged(net: nn.Module, before: dict[str, Any]) -> None:
    now = snapshot(net)
    old, new = before.pop("state"), now.pop("state")
    assert now == before
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)


def run(net: nn.Module, inputs: Any) -> Any:
    """Output in eval mode, of the network as anyone would call it: with no hooks of a counter."""
    net = net.eval()
    with torch.no_grad():
        if isinstance(inputs, dict):
            return net(**inputs)
        return net(*inputs) if isinstance(inputs, tuple) else net(inputs)


def decomposed(result: Account) -> tuple[str, ...]:
    return tuple(row.name for row in result.layers if row.ranks is not None)


def decision(result: Account, name: str) -> str:
    return next(row.decision for row in result.layers if row.name == name)


def what_the_factors_say(layer: nn.Module, ranks: tuple[int, ...]) -> Tensor:
    """The weight of eq. 7 and 8, from numpy's train of the shifted kernel per group."""
    if isinstance(layer, nn.Linear):
        weight = layer.weight.detach().double().numpy()
        return torch.from_numpy(numpy_truncated(weight.T, ranks).T)
    return with_truncated_kernel(layer, ranks).weight.detach()


@pytest.mark.parametrize("specimen", SPECIMENS.values(), ids=SPECIMENS)
def test_zoo(specimen: Specimen) -> None:
    net, inputs = specimen.build(), specimen.inputs()
    before = snapshot(net)
    result = tp.compress(net, inputs, rank=HALF, **specimen.options)

    assert sorted(decomposed(result)) == sorted(specimen.decomposed)
    for name, words in specimen.kept.items():
        assert words in decision(result, name)
        assert decision(result, name).startswith("kept: ")
    assert_unchanged(net, before)
    assert not {id(p) for p in net.parameters()} & {id(p) for p in result.model.parameters()}

    # The network computes what the factors say.
    dense = copy.deepcopy(net)
    layers = dict(dense.named_modules())
    for row in result.layers:
        if row.ranks is not None:
            layer = layers[row.name]
            apart = take_apart(layer)
            if apart is not None:
                layer = apart.layer
                replace_layers(dense, {row.name: apart.joined(layer)})
            layer.weight.data = what_the_factors_say(layer, row.ranks).to(layer.weight.dtype)
    coarse = next(net.parameters()).dtype in (torch.half, torch.bfloat16)
    tolerance = {"rtol": 0.05, "atol": 0.05} if coarse else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(run(result.model, inputs), run(dense, inputs), **tolerance)


OUTSIDE_OF_LAYERS = {
    "by weight": 24 * 24 * 9 * 6 * 6,
    **dict.fromkeys(("attention", "transformer"), 9 * 4 * 32 * 32),
}
"""MACs of a convolution that is called as a function, and of attention's projections, for an image
of 12 pixels.
"""


@pytest.mark.parametrize("name", SPECIMENS)
def test_account_is_what_count_finds(name: str) -> None:
    specimen = SPECIMENS[name]
    net, inputs = specimen.build(), specimen.inputs()
    result = tp.compress(net, inputs, rank=HALF, **specimen.options)
    for cost, params, macs, of_rows in (
        (
            tp.count(net, inputs),
            result.params_before,
            result.macs_before,
            [(r.name, r.params_before, r.macs_before) for r in result.layers],
        ),
        (
            tp.count(result.model, inputs),
            result.params_after,
            result.macs_after,
            [(r.name, r.params_after, r.macs_after) for r in result.layers],
        ),
    ):
        assert (params, macs) == (cost.params, cost.macs)
        assert of_rows == [(n, cost.layers[n].params, cost.layers[n].macs) for n, *_ in of_rows]
        assert cost.layers.keys() == {name for name, *_ in of_rows}
        of_layers = sum(row_macs for *_, row_macs in of_rows)
        assert macs == of_layers + OUTSIDE_OF_LAYERS.get(name, 0)
    assert result.pcr == result.params_before / result.params_after > 1
    assert result.fcr == result.macs_before / result.macs_after > 1
    for row in result.layers:
        if row.ranks is None:
            assert (row.params_before, row.macs_before) == (row.params_after, row.macs_after)
            assert row.kept_energy is row.relative_error is None
        else:
            assert row.params_after < row.params_before
            assert row.macs_after < row.macs_before
            assert row.kept_energy is not None
            assert 0.5 ** len(row.ranks) < row.kept_energy < 1
            assert row.relative_error == pytest.approx((1 - row.kept_energy) ** 0.5, rel=1e-2)


@pytest.mark.parametrize("name", [n for n in SPECIMENS if n not in ("one layer", "in a list")])
def test_inplace_gives_the_same_network(name: str) -> None:
    specimen = SPECIMENS[name]
    net, inputs = specimen.build(), specimen.inputs()
    copied = tp.compress(net, inputs, rank=HALF, **specimen.options)
    result = tp.compress(net, inputs, rank=HALF, inplace=True, **specimen.options)
    assert result.model is net
    assert str(result) == str(copied)
    old, new = copied.model.state_dict(), net.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_module_used_twice_is_replaced_once_in_both_places() -> None:
    for inplace in (False, True):
        model = tp.compress(Twice(), image(), rank=HALF, inplace=inplace).model
        assert isinstance(model.again, Factorized)
        assert model.again is model.block[0]


@pytest.mark.parametrize("selector", ["again", "block.0", "ag*", "module"])
def test_module_used_twice_goes_by_each_name(selector: str) -> None:
    net = Twice()
    chosen = net.again if selector == "module" else selector
    result = tp.compress(net, image(), rank=HALF, exclude=[chosen])
    assert decision(result, "block.0") == "kept: excluded"
    if isinstance(chosen, str):
        assert decomposed(tp.compress(net, image(), rank={chosen: HALF})) == ("block.0",)


def test_list_attribute_follows_in_a_copy() -> None:
    model = tp.compress(InList(), image(), rank=HALF).model
    assert model.order[1] is model.by_name["b"] is model.b
    assert isinstance(model.b, Factorized)


def test_shared_parameters_stay_shared() -> None:
    model = tp.compress(Tied(), image(), rank=HALF).model
    assert model.a.weight is model.b.weight


def test_first_means_first_executed() -> None:
    result = tp.compress(Branches(), image(), rank=HALF)
    assert [row.name for row in result.layers] == ["stem", "first", "second", "shortcut", "head"]
    assert "first convolution" in decision(result, "stem")
    everything = tp.compress(Branches(), image(), rank=tp.Energy(0.1), skip_first=False)
    assert "stem" in decomposed(everything)


@pytest.mark.parametrize("inplace", [False, True])
def test_modes_and_statistics_are_kept_module_by_module(inplace: bool) -> None:
    net = plain().train()
    net(torch.randn(4, 3, 12, 12))
    net[3].eval()
    net[5].eval()
    statistics = copy.deepcopy(net[3].state_dict())
    model = tp.compress(net, image(), rank=HALF, inplace=inplace).model
    modes = [module.training for module in model.children()]
    assert modes == [True, True, True, False, True, False]
    assert not any(module.training for module in model[5].modules())
    assert all(module.training for module in model[2].modules())
    for name, value in model[3].state_dict().items():
        assert torch.equal(value, statistics[name])


@pytest.mark.parametrize("dtype", [torch.half, torch.bfloat16, torch.float64])
def test_dtype_is_kept(dtype: torch.dtype) -> None:
    model = tp.compress(plain().to(dtype), image().to(dtype), rank=HALF).model
    assert {p.dtype for p in model.parameters()} == {dtype}


def test_requires_grad_is_kept_layer_by_layer() -> None:
    net = plain()
    net[2].requires_grad_(False)
    net[5].bias.requires_grad_(False)
    model = tp.compress(net, image(), rank=HALF).model
    assert not any(p.requires_grad for p in model[2].parameters())
    grads = {name: p.requires_grad for name, p in model[5].named_parameters()}
    assert grads.pop("pointwise_out.bias") is False
    assert set(grads.values()) == {True}
    model(torch.randn(2, 3, 12, 12)).sum().backward()
    assert model[5].vertical.weight.grad is not None


def test_hooks_on_containers_and_kept_layers_stay() -> None:
    net = nn.Sequential(plain(), nn.Flatten())
    calls: list[str] = []
    net[0].register_forward_hook(lambda *_: calls.append("container"))
    net[0][0].register_forward_pre_hook(lambda *_: calls.append("first"))
    model = tp.compress(net, image(), rank=HALF, exclude=["0.0"]).model
    calls.clear()
    model(torch.randn(2, 3, 12, 12))
    assert calls == ["first", "container"]


def attach_hook(net: nn.Sequential) -> None:
    net[2].register_forward_hook(lambda *_: None)


def attach_backward_hook(net: nn.Sequential) -> None:
    net[2].register_full_backward_hook(lambda *_: None)


def attach_parametrization(net: nn.Sequential) -> None:
    parametrizations.weight_norm(net[2])


def attach_spectral_norm(net: nn.Sequential) -> None:
    parametrizations.spectral_norm(net[2])


def attach_pruning(net: nn.Sequential) -> None:
    prune.l1_unstructured(net[2], "weight", 0.3)


def attach_older_weight_norm(net: nn.Sequential) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nn.utils.weight_norm(net[2])


def attach_older_spectral_norm(net: nn.Sequential) -> None:
    nn.utils.spectral_norm(net[2])


ATTACH = [attach_hook, attach_backward_hook]
FOLD = [
    attach_parametrization,
    attach_spectral_norm,
    attach_pruning,
    attach_older_weight_norm,
    attach_older_spectral_norm,
]


@pytest.mark.parametrize("attach", ATTACH)
@pytest.mark.parametrize("inplace", [False, True])
def test_attachments_are_refused_by_name(
    attach: Callable[[nn.Sequential], None], inplace: bool
) -> None:
    net = plain()
    attach(net)
    before = snapshot(net)
    with pytest.raises(tp.TensorpressError, match=r"layer '2' carries.*exclude"):
        tp.compress(net, image(), rank=HALF, inplace=inplace)
    assert_unchanged(net, before)


@pytest.mark.parametrize("attach", FOLD)
@pytest.mark.parametrize("inplace", [False, True])
def test_parametrisations_stay_or_are_folded_on_request(
    attach: Callable[[nn.Sequential], None], inplace: bool, tmp_path: Path
) -> None:
    net = plain()
    attach(net)
    net.eval()
    kept = tp.compress(net, image(), rank=HALF)
    assert decomposed(kept) == ("5",)
    assert "fold_parametrizations=True (--fold-parametrizations)" in decision(kept, "2")
    assert type(kept.model[2]) is type(net[2])

    assert is_foldable(net[2])
    maps = torch.randn(2, 24, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(fold(net[2])(maps), net[2](maps))
    fresh = copy.deepcopy(net)
    result = tp.compress(net, image(), rank=HALF, fold_parametrizations=True, inplace=inplace)
    assert decomposed(result) == ("2", "5")
    assert decision(result, "2") == "ttpwt, was parametrised"
    tp.save(result, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=fresh)
    x = image()
    assert torch.equal(run(loaded, x), run(result.model, x))


@pytest.mark.parametrize("attach", FOLD)
@pytest.mark.parametrize("frozen", ["weight", "bias"])
def test_what_is_folded_is_trained_where_its_parts_were(
    attach: Callable[[nn.Sequential], None], frozen: str
) -> None:
    net = plain()
    net[2] = nn.Conv2d(24, 24, 3)
    attach(net)
    net[2].bias.requires_grad_(frozen != "bias")
    for parameter in net[2].parameters():
        if parameter is not net[2].bias:
            parameter.requires_grad_(frozen != "weight")
    model = tp.compress(net, image(), rank=HALF, fold_parametrizations=True).model
    grads = {name: p.requires_grad for name, p in model[2].named_parameters()}
    assert grads.pop("pointwise_out.bias") is (frozen != "bias")
    assert set(grads.values()) == {frozen != "weight"}


def test_folding_leaves_the_modes_of_what_is_folded() -> None:
    net = plain()
    net[2] = nn.utils.parametrizations.spectral_norm(nn.Conv2d(24, 24, 3))
    net.train()
    held: Any = net[2]
    held.parametrizations.eval()  # so that its vectors stay
    modes = [module.training for module in net.modules()]
    tp.compress(net, image(), rank=HALF, fold_parametrizations=True)
    assert [module.training for module in net.modules()] == modes


def test_parametrised_layers_that_share_stay_shared() -> None:
    convs = [nn.utils.parametrizations.weight_norm(nn.Conv2d(24, 24, 3)) for _ in range(2)]
    net: Any = nn.Sequential(plain(), *convs)
    net[2].parametrizations.weight.original1 = net[1].parametrizations.weight.original1
    result = tp.compress(net, image(), rank=HALF, fold_parametrizations=True)
    for name in ("1", "2"):
        assert decision(result, name) == "kept: shares its parameters with another module"
    assert result.params_after == sum(p.numel() for p in result.model.parameters())


@pytest.mark.parametrize("attach", [attach_hook, attach_parametrization, attach_pruning])
def test_attachments_on_excluded_layers_are_kept(attach: Callable[[nn.Sequential], None]) -> None:
    net = plain().eval()
    attach(net)
    result = tp.compress(net, image(), rank=HALF, exclude=["2"])
    assert decomposed(result) == ("5",)
    assert type(result.model[2]) is type(net[2])
    assert result.model[2]._forward_hooks.keys() == net[2]._forward_hooks.keys()
    x = image()
    torch.testing.assert_close(result.model[2](net[:2](x)), net[2](net[:2](x)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("index", "kind"), [(0, "weight"), (2, "weight"), (5, "bias")])
def test_kernels_that_are_not_finite_are_named(value: float, index: int, kind: str) -> None:
    net = plain()
    with torch.no_grad():
        getattr(net[index], kind).view(-1)[-1] = value
    for layers in ({}, {"exclude": [str(index)]}):
        with pytest.raises(tp.TensorpressError, match=f"'{index}' holds NaN or inf in its {kind}"):
            tp.compress(net, image(), rank=HALF, **layers)


def test_damage_in_a_factorized_layer_is_named() -> None:
    model = tp.compress(plain(), image(), rank=HALF).model
    model[5].vertical.weight.data[0] = float("nan")
    with pytest.raises(tp.TensorpressError, match=r"'5' holds NaN or inf in its vertical.weight"):
        tp.compress(model, image(), rank=HALF)


def lazy() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.LazyConv2d(8, 3))


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "lazy": (lazy, "lazy and '1.weight' has no weights yet"),
    "scripted": (lambda: torch.jit.script(plain().eval()), "scripted or traced"),
    "traced": (lambda: torch.jit.trace(plain().eval(), image()), "scripted or traced"),
    "no convolution": (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(432, 5)),
        "no convolution.*linear=True",
    ),
    "no layers": (nn.ReLU, "no convolution, so nothing to decompose[.]$"),
    "other channels": (lambda: nn.Conv2d(4, 8, 3), r"does not run.*\(1, 3, 12, 12\) float32"),
    "other dtype": (lambda: plain().double(), "does not run on the example inputs"),
    "state_dict": (lambda: plain().state_dict(), "torch.nn.Module, not a OrderedDict"),
    "nothing": (lambda: None, "torch.nn.Module, not a NoneType"),
}


@pytest.mark.parametrize("form", [lambda x: x, lambda x: (x,), lambda x: {"input": x}])
def test_empty_example_inputs(form: Callable[[Tensor], Any]) -> None:
    with pytest.raises(tp.TensorpressError, match=r"are empty.*\(0, 3, 12, 12\).*1 or more"):
        tp.compress(plain(), form(image()[:0]), rank=HALF)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(("build", "message"), REFUSED.values(), ids=REFUSED)
def test_refused_networks(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        tp.compress(build(), image(), rank=HALF)


VERBS: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "compress": (lambda net: tp.compress(net, image(), rank=HALF), "linear=True decomposes"),
    "explore": (
        lambda net: tp.explore(net, image(), image()),
        "linear layers are not explored; compress takes them with linear=True",
    ),
    "share_weights": (
        lambda net: tp.share_weights(net, image(), clusters=4),
        "deep-k-means does not treat linear layers[.]$",
    ),
    "tensorize": (
        lambda net: tp.tensorize(net, image(), rank=4),
        "tt-conv does not treat linear layers[.]$",
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_of_linear_layers_it_is_told_what_the_verb_does_with_them(verb: str) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(432, 5)).eval()
    ask, told = VERBS[verb]
    with pytest.raises(tp.TensorpressError, match=f"no convolution, so nothing .*: {told}"):
        ask(net)


BAD_CALLS: dict[str, tuple[dict[str, Any], str]] = {
    "neither": ({}, "either rank=.*or budget="),
    "both": ({"rank": HALF, "budget": tp.Budget(params=2)}, "not both"),
    "method": ({"rank": HALF, "method": "dct"}, "no method 'dct'; there is: .*ttpwt"),
    "rank a number": ({"rank": 0.6}, "rank=0.6: give a rank rule"),
    "rank a class": ({"rank": tp.Energy}, "give a rank rule"),
    "rank an empty mapping": ({"rank": {}}, "give a rank rule"),
    "rank in a mapping": ({"rank": {"2": 0.6}}, r"rank\['2'\] is 0.6"),
    "rank typo": ({"rank": {"2": HALF, "layr*": HALF}}, "rank pattern 'layr[*]'.*layers are: 2, 5"),
    "too many ranks": ({"rank": tp.Ranks(1, 2, 3, 4)}, "layer '2': Ranks.*takes 3"),
    "budget a number": ({"budget": 4}, "budget=4: give a Budget"),
    "include typo": ({"rank": HALF, "include": ["conv9"]}, "include 'conv9'.*are: 0, 2, 5"),
    "exclude typo": ({"rank": HALF, "exclude": ["2", "lay*"]}, "exclude 'lay[*]' fits no layer"),
    "exclude a string": ({"rank": HALF, "exclude": "nothing"}, "exclude 'nothing'"),
    "include a number": ({"rank": HALF, "include": [2]}, "include takes names.*not 2"),
    "foreign module": ({"rank": HALF, "exclude": [nn.Conv2d(1, 1, 1)]}, "'Conv2d' fits no layer"),
    "no layer in it": ({"rank": HALF, "exclude": ["1"]}, "exclude '1' fits no layer"),
}


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(("arguments", "message"), BAD_CALLS.values(), ids=BAD_CALLS)
def test_bad_calls(arguments: dict[str, Any], message: str, inplace: bool) -> None:
    net = plain()
    before = snapshot(net)
    with pytest.raises(tp.TensorpressError, match=message):
        tp.compress(net, image(), inplace=inplace, **arguments)
    assert_unchanged(net, before)


class Checking(nn.Module):
    """Runs only with a convolution in place; what it raises is not what PyTorch would raise."""

    def __init__(self, error: type[BaseException]) -> None:
        super().__init__()
        self.a, self.b, self.error = nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 3), error

    def forward(self, x: Tensor) -> Tensor:
        if not isinstance(self.b, nn.Conv2d):
            raise self.error("where is b?")
        return self.b(self.a(x))


LATE: dict[str, tuple[Callable[[], nn.Module], type[BaseException], str]] = {
    "weight": (lambda: ByWeight(True), tp.TensorpressError, "no attribute 'weight'.*Exclude"),
    "assertion": (lambda: Checking(AssertionError), tp.TensorpressError, "where is b.*Exclude"),
    "key": (lambda: Checking(KeyError), tp.TensorpressError, "where is b.*Exclude"),
    "stopped": (lambda: Checking(KeyboardInterrupt), KeyboardInterrupt, "where is b"),
    "list": (InList, tp.TensorpressError, "'b'.*inplace=False"),
}


@pytest.mark.parametrize(("build", "error", "message"), LATE.values(), ids=LATE)
def test_inplace_rolls_back(
    build: Callable[[], nn.Module], error: type[BaseException], message: str
) -> None:
    net = build()
    before = snapshot(net)
    with pytest.raises(error, match=message):
        tp.compress(net, image(), rank=HALF, inplace=True)
    assert_unchanged(net, before)


def test_error_in_forward_is_quoted_whatever_its_kind() -> None:
    class Broken(nn.Conv2d):
        def forward(self, _: Tensor) -> Tensor:
            raise KeyError("no such branch")

    with pytest.raises(tp.TensorpressError, match=r"does not run on.*no such branch"):
        tp.compress(Broken(3, 4, 3), image(), rank=HALF)


def test_network_that_cannot_be_copied() -> None:
    net = plain()
    net.derived = net[0].weight * 2  # type: ignore[assignment]
    with pytest.raises(tp.TensorpressError, match=r"cannot be copied.*inplace=True"):
        tp.compress(net, image(), rank=HALF)
    assert isinstance(tp.compress(net, image(), rank=HALF, inplace=True).model[2], Factorized)


def test_one_layer_cannot_replace_itself() -> None:
    net = nn.Conv2d(24, 24, 3)
    with pytest.raises(tp.TensorpressError, match="one layer"):
        tp.compress(net, torch.zeros(1, 24, 8, 8), rank=HALF, skip_first=False, inplace=True)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (None, (), ("0.2", "0.5", "1.0", "1.2", "1.5")),
        (["0.*"], (), ("0.2", "0.5")),
        ("1.5", (), ("1.5",)),
        (None, "0.*", ("1.0", "1.2", "1.5")),
        (["0.*", "1.5"], ["0.5"], ("0.2", "1.5")),
        (["?.5"], (), ("0.5", "1.5")),
        (["0.0"], (), ()),
    ],
)
def test_include_and_exclude(include: Any, exclude: Any, expected: tuple[str, ...]) -> None:
    net = nn.Sequential(plain(), plain())
    net[1][0] = nn.Conv2d(24, 24, 3, padding=1)
    result = tp.compress(net, image(), rank=HALF, include=include, exclude=exclude)
    assert decomposed(result) == expected
    by_module = tp.compress(net, image(), rank=HALF, include=[net[1]], exclude=[net[1][2]])
    assert decomposed(by_module) == ("1.0", "1.5")
    assert decision(by_module, "1.2") == "kept: excluded"
    assert decision(by_module, "0.2") == "kept: not included"


def test_a_name_with_brackets_fits_itself() -> None:
    layers = {f"a[{n}]": nn.Conv2d(24 if n else 3, 24, 3) for n in range(3)}
    net = nn.Sequential()
    for name, layer in layers.items():
        net.add_module(name, layer)
    assert decomposed(tp.compress(net, image(), rank=HALF, include=["a[1]"])) == ("a[1]",)
    assert decomposed(tp.compress(net, image(), rank={"a[2]": HALF})) == ("a[2]",)
    assert decomposed(tp.compress(net, image(), rank=HALF, exclude="a[[]2]")) == ("a[1]",)


def test_rank_mapping_takes_the_first_that_fits() -> None:
    net = plain()
    ranks = {"5": tp.Ranks(2, 3, 2), "?": tp.Ranks(4, 5, 4)}
    rows = {row.name: row.ranks for row in tp.compress(net, image(), rank=ranks).layers}
    assert rows == {"0": None, "2": (4, 5, 4), "5": (2, 3, 2)}
    turned = dict(reversed(ranks.items()))
    rows = {row.name: row.ranks for row in tp.compress(net, image(), rank=turned).layers}
    assert rows == {"0": None, "2": (4, 5, 4), "5": (4, 5, 4)}


def test_layers_that_no_rule_fits_stay() -> None:
    result = tp.compress(plain(), image(), rank={"5": HALF})
    assert decomposed(result) == ("5",)
    assert decision(result, "2") == "kept: no rank rule fits its name"


def test_clamped_ranks_are_said() -> None:
    result = tp.compress(plain(), image(), rank=tp.Ranks(4, 999, 4))
    assert decision(result, "2") == "ttpwt (ranks clamped to their bounds)"
    row = next(row for row in result.layers if row.name == "2")
    assert row.ranks == (4, 12, 4)
    assert decision(tp.compress(plain(), image(), rank=tp.Ranks(4, 12, 4)), "2") == "ttpwt"


def test_full_rank_stays_since_it_is_not_smaller() -> None:
    net = plain()
    result = tp.compress(net, image(), rank=tp.Energy(1.0))
    assert decomposed(result) == ()
    assert (result.pcr, result.fcr) == (1.0, 1.0)
    for name in ("2", "5"):
        assert "would not get smaller" in decision(result, name)
        assert "ranks 24 72 24" in decision(result, name)
    x = image()
    assert torch.equal(run(result.model, x), run(net, x))


def test_smaller_in_params_alone_is_not_enough() -> None:
    # The stride is taken by the second sublayer, so that the first runs on a map 16 times larger.
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.Conv2d(32, 16, 3, stride=4))
    result = tp.compress(net, image(), rank=tp.Ranks(32, 20, 10))
    cost = tp.count(net, image()).layers["1"]
    said = re.search(r"\(([\d,]+) params, ([\d,]+) MACs at ranks 32 20 10", decision(result, "1"))
    assert said is not None
    params, macs = (int(number.replace(",", "")) for number in said.groups())
    assert params < cost.params
    assert macs >= cost.macs


def test_balance_is_the_same_function() -> None:
    net = plain().eval()
    with torch.no_grad():
        net[5].weight.mul_(100)
    results = [tp.compress(net, image(), rank=HALF, balance=b) for b in (False, True)]
    assert str(results[0]) == str(results[1])
    x = image()
    torch.testing.assert_close(run(results[0].model, x), run(results[1].model, x))
    norms = [[float(sub.weight.detach().norm()) for sub in result.model[5]] for result in results]
    assert max(norms[1]) / min(norms[1]) < 1.01 < 10 < max(norms[0]) / min(norms[0])


def test_again_on_a_compressed_network() -> None:
    once = tp.compress(plain(), image(), rank=HALF, exclude=["5"])
    twice = tp.compress(once.model, image(), rank=HALF, exclude=["2"])
    assert decision(twice, "2") == "kept: excluded"
    assert decomposed(twice) == ("5",)
    assert twice.params_before == once.params_after
    again = tp.compress(twice.model, image(), rank=tp.Energy(1.0))
    assert again.pcr == again.fcr == 1.0
    further = tp.compress(twice.model, image(), rank=tp.Energy(0.1))
    assert decision(further, "2") == decision(further, "5") == "ttpwt, was ttpwt"
    assert further.pcr > 1


def test_two_runs_are_the_same_to_the_bit() -> None:
    net = plain()
    one, two = (tp.compress(net, image(), rank=HALF).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_account_prints_aligned_rows() -> None:
    result = tp.compress(Branches(), image(), rank=HALF)
    lines = str(result).splitlines()
    assert lines[0].split() == [
        *("layer", "kernel", "ranks", "kept", "error", "params", "MACs", "decision")
    ]
    at = lines[0].index("decision")
    rows = lines[2 : 2 + len(result.layers)]
    for line, row in zip(rows, result.layers, strict=True):
        assert line[at:] == row.decision
        assert line[at - 1] == " "
    assert lines[-2:] == [
        f"params {result.params_before:,} -> {result.params_after:,}  PCR {result.pcr:.2f}",
        f"MACs   {result.macs_before:,} -> {result.macs_after:,}  FCR {result.fcr:.2f}",
    ]
    assert "Conv2d 32x24x3x3 /2" in str(result)


def test_plain_modules_only() -> None:
    model = tp.compress(Branches(), image(), rank=HALF, linear=True).model
    chains = [module for module in model.modules() if isinstance(module, Factorized)]
    assert {type(sub) for chain in chains for sub in chain} == {nn.Conv2d, nn.Linear}
    exported = torch.export.export(model.eval(), (image(),)).module()
    x = image()
    torch.testing.assert_close(exported(x), run(model, x))


def test_compressing_draws_no_random_numbers() -> None:
    net = tp.networks.resnet20()
    state = torch.get_rng_state()
    tp.compress(net, torch.zeros(1, 3, 32, 32), rank=tp.Energy(0.5))
    assert torch.equal(state, torch.get_rng_state())


def test_a_factorized_first_convolution_is_still_the_first() -> None:
    image = torch.zeros(1, 3, 32, 32)
    net = tp.networks.resnet20()
    once = tp.compress(net, image, rank=tp.Energy(0.5), include=["conv1"], skip_first=False).model
    twice = tp.compress(once, image, rank=tp.Energy(0.5), include=["layer1.0.conv1"])
    assert twice.layers[0].decision.startswith("kept")
    assert twice.layers[1].ranks is not None


BIG = torch.randn(4, 5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"include": 5}, "include and exclude take names"),
        ({"exclude": BIG}, "include and exclude take names"),
        ({"include": ["a\nb"]}, "fits no layer"),
        ({"method": BIG}, "method=<a tensor of shape \\(4, 5\\)>: give a name"),
        ({"method": "x\ny"}, "there is no method"),
        ({"method": "l3"}, "and to prune by: l1, sfp"),
        ({"method": []}, "method=\\[\\]: give a name"),
        ({"rank": BIG}, "rank=<a tensor of shape"),
        ({"rank": {BIG: HALF}}, "rank pattern takes names"),
        ({"rank": None, "budget": BIG}, "budget=<a tensor of shape"),
        ({"round_to": BIG}, "round_to=<a tensor of shape"),
        ({"round_to": True}, "round_to=True"),
        ({"recover": BIG}, "recover=<a tensor of shape"),
        ({"skip_first": "no"}, "skip_first='no': give True or False"),
        ({"linear": BIG}, "linear=<a tensor of shape"),
        ({"inplace": 1}, "inplace=1: give True or False"),
        ({"calibration": torch.zeros(32, 3, 8, 8, device="meta")}, "on the meta device"),
        ({"calibration": torch.zeros(32, 3, 8, 8).to_sparse()}, "give a dense tensor"),
    ],
)
def test_mistakes_are_one_line_and_no_tensor_is_printed(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(tp.TensorpressError, match=words) as caught:
        tp.compress(plain(), image(), **{"rank": HALF, **options})
    assert "\n" not in str(caught.value)
    assert "tensor([" not in str(caught.value)


@pytest.mark.parametrize("multiple", [2, 3, 8])
def test_kronecker_rounds_the_rank_and_not_its_divisors(multiple: int) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 20, 3, padding=1))
    result = tp.compress(net, image(), method="kronecker", rank=tp.Energy(0.5), round_to=multiple)
    ranks = result.layers[1].ranks
    assert ranks is None or (ranks[0] % multiple == 0 and 20 % ranks[1] == 8 % ranks[2] == 0)
