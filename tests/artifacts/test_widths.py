"""Altered widths of narrowed layers: refused in one line, and nothing is changed."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import tensorpress as tp
from tensorpress.artifacts.digest import digest

Alter = Callable[[dict[str, Any]], Any]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8),
        nn.Conv2d(8, 12, 3, groups=2),
        nn.Conv2d(12, 8, 1),
        nn.Flatten(),
    ).eval()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pruned, and its last convolution decomposed."""
    image = torch.zeros(1, 3, 10, 10)
    model = tp.prune(net(), image, budget=tp.Budget(macs=1.5)).model
    model = tp.compress(model, image, rank={"4": tp.Ranks(2)}).model
    file = tmp_path_factory.mktemp("widths") / "good.tp"
    tp.save(model, file)
    return file


def altered(good: Path, alter: Alter, folder: Path) -> Path:
    """The file with other widths and the digest that fits them, as one who means harm does."""
    with safe_open(good, framework="pt") as opened:
        manifest = json.loads(opened.metadata()["tensorpress"])
    alter(manifest)
    tensors = load_file(good)
    manifest.pop("sha256", None)
    manifest["sha256"] = digest(manifest, tensors)
    save_file(tensors, folder / "net.tp", {"tensorpress": json.dumps(manifest)})
    return folder / "net.tp"


def test_the_file_itself_is_good(good: Path, tmp_path: Path) -> None:
    loaded = tp.load(altered(good, lambda _: None, tmp_path), into=net())
    assert loaded[0].out_channels == loaded[2].groups == loaded[3].in_channels < 8
    assert loaded[4].ranks == (2,)


def put(name: str, **values: Any) -> Alter:
    return lambda manifest: manifest["widths"].setdefault(name, {}).update(values)


def replace(widths: Any) -> Alter:
    return lambda manifest: manifest.update(widths=widths)


DAMAGED: dict[str, tuple[Alter, str]] = {
    "none": (lambda manifest: manifest.pop("widths"), "manifest.*damaged"),
    "null": (replace(None), "manifest.*damaged"),
    "a list": (replace([["0", 4]]), "manifest.*damaged"),
    "a number for a layer": (replace({"0": 4}), "manifest.*damaged"),
    "zero": (put("0", out_channels=0), "manifest.*damaged.*out_channels 0"),
    "negative": (put("0", out_channels=-2), "manifest.*damaged"),
    "a fraction": (put("0", out_channels=4.0), "manifest.*damaged"),
    "true": (put("0", out_channels=True), "manifest.*damaged"),
    "a text": (put("0", out_channels="4"), "manifest.*damaged"),
    "an object": (put("0", out_channels={}), "manifest.*damaged"),
    "no width": (put("0", padding=1), "manifest.*damaged.*padding"),
    "code": (put("0", forward=1), "manifest.*damaged.*forward"),
    "private": (put("0", __class__=1), "manifest.*damaged.*__class__"),
    "a width of another kind": (put("0", num_features=4), "'0' has fewer .* is a Conv2d here"),
    "a layer without widths": (put("5", num_features=4), "'5' has fewer .* is a Flatten here"),
    "the network itself": (put("", num_features=4), "'' has fewer .* is a Sequential here"),
    "no such layer": (put("9", out_channels=4), "it has a layer '9', this network has none"),
    "wider": (put("0", out_channels=9), "'0' has out_channels=9 there, and 8 here"),
    "far wider": (put("0", out_channels=10**30), "'0' has out_channels=10+ there, and 8 here"),
    "another width": (put("0", out_channels=1), r"tensors .* of another shape \(0\."),
    "one more layer": (put("4", in_channels=3), "tensors .* of another shape"),
    "groups that do not divide": (put("3", groups=2, in_channels=5), "groups do not divide"),
    "fewer groups": (put("3", groups=1, in_channels=8), r"'3\.weight' has the shape .* there, and"),
    "of a chain": (put("4", in_channels=12), "of another shape"),
    "left out": (replace({}), "does not say which layers were pruned"),
    "an older version": (lambda manifest: manifest.update(version=2), "another network: tensors"),
    "the oldest version": (lambda manifest: manifest.update(version=1), "another network: tensors"),
}


@pytest.mark.parametrize(("alter", "message"), DAMAGED.values(), ids=DAMAGED)
def test_altered_widths(alter: Alter, message: str, good: Path, tmp_path: Path) -> None:
    file = altered(good, alter, tmp_path)
    assert_refused(file, net(), message)


def assert_refused(file: Path, into: nn.Module, message: str) -> None:
    before = described(into)
    state = {name: value.clone() for name, value in into.state_dict().items()}
    with pytest.raises(tp.TensorpressError, match=message) as caught:
        tp.load(file, into=into)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600
    assert described(into) == before
    assert all(torch.equal(value, state[name]) for name, value in into.state_dict().items())


def described(into: nn.Module) -> list[Any]:
    parameters = [(name, id(value)) for name, value in into.named_parameters()]
    return [repr(into), parameters, [(n, id(m), [*vars(m)]) for n, m in into.named_modules()]]


def parametrised() -> nn.Module:
    made = net()
    nn.utils.parametrizations.weight_norm(made[0])
    return made


INTO: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "parametrised": (parametrised, "layer '0' is narrower in .* and parametrised in this network"),
    "narrower": (
        lambda: nn.Sequential(nn.Conv2d(3, 2, 3), *list(net())[1:]),
        "'0' has out_channels=. there, and 2 here",
    ),
    "of another kernel": (
        lambda: nn.Sequential(nn.Conv2d(3, 8, 5), *list(net())[1:]),
        r"of another shape \(0\.weight\)",
    ),
    "of another kind": (
        lambda: nn.Sequential(nn.Identity(), *list(net())[1:]),
        "'0' has fewer out_channels there, and is a Identity here",
    ),
}


@pytest.mark.parametrize(("build", "message"), INTO.values(), ids=INTO)
def test_networks_that_do_not_fit(build: Callable[[], nn.Module], message: str, good: Path) -> None:
    assert_refused(good, build(), message)


def test_widths_drawn_at_random_change_nothing_or_load_the_same(good: Path, tmp_path: Path) -> None:
    """With a digest that fits, so that the widths themselves are what is looked at."""
    wanted = tp.load(good, into=net()).state_dict()
    draw = random.Random(0)
    loaded = 0
    for _ in range(300):

        def alter(manifest: dict[str, Any]) -> None:
            held = manifest["widths"][draw.choice(sorted(manifest["widths"]))]
            attribute = draw.choice([*held, "groups", "in_channels", "out_channels"])
            held[attribute] = draw.choice([1, 2, 3, 4, 5, 6, 7, 8, 12, 0, None, 2**70, "3", [3]])

        into = net()
        before = described(into)
        file = altered(good, alter, tmp_path)
        try:
            state = tp.load(file, into=into).state_dict()
        except tp.TensorpressError:
            assert described(into) == before
        else:
            loaded += 1
            assert all(torch.equal(state[name], wanted[name]) for name in wanted)
    assert 0 < loaded < 150
