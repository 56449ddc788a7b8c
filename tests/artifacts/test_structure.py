"""A network's structure apart from its weights: made again, then filled by load_state_dict."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.artifacts import read_manifest

IMAGE = torch.zeros(1, 3, 10, 10)


def layers() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=2, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    )


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    made = layers()
    made(images())
    return made.eval()


def images() -> Tensor:
    return torch.randn(16, 3, 10, 10, generator=torch.Generator().manual_seed(1))


HALF = tp.Energy(0.6)
MADE: dict[str, Callable[[], tp.surgery.Account]] = {
    "ttpwt": lambda: tp.compress(net(), IMAGE, rank=HALF),
    "tucker2": lambda: tp.compress(net(), IMAGE, method="tucker2", rank=HALF),
    "cp": lambda: tp.compress(net(), IMAGE, method="cp", rank=tp.Ranks(4)),
    "kronecker": lambda: tp.compress(net(), IMAGE, method="kronecker", rank=HALF),
    "codebooks": lambda: tp.share_weights(net(), IMAGE, clusters=6),
    "tensorized": lambda: tp.tensorize(net(), IMAGE, rank=3),
    "pruned": lambda: tp.prune(net(), IMAGE, budget=tp.Budget(params=1.3)),
    "pruned, then ttpwt": lambda: tp.compress(
        tp.prune(net(), IMAGE, budget=tp.Budget(params=1.3)).model, IMAGE, rank=HALF
    ),
}


def as_json(model: nn.Module | tp.surgery.Account) -> Any:
    return json.loads(json.dumps(tp.structure(model)))


@pytest.mark.parametrize("what", MADE)
def test_structure_and_state_give_the_network(what: str) -> None:
    model = MADE[what]().model.eval()
    again = tp.restructure(net(seed=1), as_json(model))
    assert all(bool(value.isfinite().all()) for value in again.state_dict().values())
    again.load_state_dict(model.state_dict())
    assert torch.equal(again(images()), model(images()))
    assert str(again) == str(model)
    assert as_json(again) == as_json(model)
    assert as_json(tp.restructure(net(), tp.structure(again))) == as_json(model)


@pytest.mark.parametrize("what", MADE)
def test_on_the_meta_device(what: str) -> None:
    model = MADE[what]().model.eval()
    with torch.device("meta"):
        empty = tp.restructure(layers(), as_json(model))
    assert all(value.is_meta for value in empty.state_dict().values())
    empty.load_state_dict(model.state_dict(), assign=True)
    assert torch.equal(empty.eval()(images()), model(images()))


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_training_goes_on_with_the_same_bits(kind: Any, tmp_path: Path) -> None:
    settings = {"momentum": 0.9} if kind is torch.optim.SGD else {}

    def steps(model: nn.Module, optimiser: torch.optim.Optimizer, count: int) -> None:
        for _ in range(count):
            loss = model(images()).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    model = MADE["ttpwt"]().model.train()
    optimiser = kind(model.parameters(), lr=0.01, **settings)
    steps(model, optimiser, 3)
    kept = {
        "structure": tp.structure(model),
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
    }
    torch.save(kept, tmp_path / "last.pt")
    steps(model, optimiser, 3)

    read = torch.load(tmp_path / "last.pt", weights_only=True)
    again = tp.restructure(net(seed=5), read["structure"]).train()
    again.load_state_dict(read["model"])
    other = kind(again.parameters(), lr=0.01, **settings)
    other.load_state_dict(read["optimiser"])
    steps(again, other, 3)
    assert all(map(torch.equal, model.state_dict().values(), again.state_dict().values()))


def test_files_of_it(tmp_path: Path) -> None:
    result = MADE["pruned, then ttpwt"]()
    (tmp_path / "net.json").write_text(json.dumps(tp.structure(result)))
    tp.save(result, tmp_path / "net.tp")
    for file in ("net.json", "net.tp"):
        again = tp.restructure(net(seed=2), tmp_path / file)
        assert as_json(again) == as_json(result)
        again.load_state_dict(result.model.state_dict())
        twice = tp.compress(again, IMAGE, rank=tp.Energy(0.4))
        assert [step["method"] for step in (s["request"] for s in twice.history)] == ["l1", "ttpwt"]


def test_other_layers_keep_their_weights() -> None:
    given = net(seed=3)
    before = given[1].weight.detach().clone(), given[8].weight.detach().clone()
    again = tp.restructure(given, tp.structure(MADE["ttpwt"]()))
    assert torch.equal(again[1].weight, before[0])
    assert torch.equal(again[8].weight, before[1])
    assert again is given


Alter = Callable[[dict[str, Any]], Any]
DAMAGED: dict[str, tuple[Alter, str]] = {
    "a list": (lambda _: [], "is no structure|is damaged or none"),
    "a number": (lambda _: 3, "3 is no structure"),
    "nothing": (lambda _: {}, "is damaged or none .*version"),
    "later": (lambda it: it | {"version": 99}, "format version 99, .*upgrade"),
    "no ranks": (lambda it: it | {"layers": {"3": {"method": "ttpwt"}}}, "is damaged or none"),
    "absurd": (lambda it: with_ranks(it, [10**9, 1, 1]), "absurd ranks"),
    "large": (lambda it: with_ranks(it, [1000, 1000, 1000]), "absurd ranks .* would hold"),
    "negative": (lambda it: with_ranks(it, [-1, 1, 1]), "is damaged or none"),
    "too few": (lambda it: with_ranks(it, [1]), "does not fit: layer '3'"),
    "a method": (
        lambda it: it | {"layers": {"3": {"method": "new", "ranks": [1]}}},
        "its method 'new' is not known",
    ),
    "a layer": (
        lambda it: it | {"layers": {"33": {"method": "ttpwt", "ranks": [1, 1, 1]}}},
        "the structure is of another network: it has a layer '33'",
    ),
    "widths": (lambda it: it | {"widths": {"3": {"out_channels": 99}}}, "and 16 here"),
    "history": (lambda it: it | {"history": [{"request": 1}]}, "is damaged or none"),
}


def with_ranks(it: dict[str, Any], ranks: list[int]) -> dict[str, Any]:
    return it | {"layers": {"3": {"method": "ttpwt", "ranks": ranks}}}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_none_or_of_another_network_changes_nothing(what: str) -> None:
    alter, message = DAMAGED[what]
    given = net()
    before = [(name, id(module)) for name, module in given.named_modules()]
    with pytest.raises(tp.TensorpressError, match=message) as told:
        tp.restructure(given, alter(tp.structure(MADE["ttpwt"]())))
    assert "\n" not in str(told.value)
    assert [(name, id(module)) for name, module in given.named_modules()] == before


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "there is no file"), ("{", "cannot be read as JSON"), ("3", "is damaged or none")],
)
def test_files_that_hold_none(content: str | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "structure.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(tp.TensorpressError, match=message):
        tp.restructure(net(), file)


@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_either_form_of_unicode(one: str, other: str, tmp_path: Path) -> None:
    def named(form: str) -> nn.Module:
        made = nn.Sequential()
        for name, layer in (("a", nn.Conv2d(3, 8, 3)), ("é", nn.Conv2d(8, 8, 3))):
            made.add_module(normalize(form, name), layer)
        return made.eval()

    model = tp.compress(named(one), IMAGE, rank=tp.Ranks(2, 3, 2)).model
    tp.save(model, tmp_path / "net.tp")
    assert read_manifest(tmp_path / "net.tp").layers.keys() == {normalize(one, "é")}
    loaded = tp.load(tmp_path / "net.tp", into=named(other))
    assert torch.equal(loaded(IMAGE + 1), model(IMAGE + 1))
    again = tp.restructure(named(other), tp.structure(model))
    assert again.get_submodule(normalize(other, "é")).ranks == (2, 3, 2)


def test_a_wrapped_network_has_the_structure_of_what_is_inside() -> None:
    small = tp.compress(net(), IMAGE, rank=tp.Energy(0.6)).model
    assert tp.structure(nn.DataParallel(small)) == tp.structure(small)


class Even(nn.Conv2d):
    """More behind the map than in front of it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(nn.functional.pad(x, (1, 2, 1, 2)))


def test_subclasses_on_the_meta_device_are_named() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), Even(12, 16, 4, stride=2), nn.ReLU())

    held = tp.structure(tp.compress(make(), IMAGE, rank=tp.Energy(0.5), skip_output=False).model)
    assert held["layers"]
    with torch.device("meta"), pytest.raises(tp.TensorpressError, match=r"is a Even, .* meta"):
        tp.restructure(make(), held)
