"""What was treated is treated again, as the plain layer that it stands for."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from zoo import image, plain

import tensorpress as tp
from tensorpress.layers.dense_form import dense_form
from tensorpress.surgery import Account

FIRST = {
    "ttpwt": tp.Energy(0.6),
    "tucker2": tp.Energy(0.6),
    "cp": tp.Ranks(6),
    "kronecker": tp.Energy(0.5),
    "tt": tp.Ranks(8, 6, 3),
    "tensor-ring": tp.Energy(0.4),
    "hierarchical-tucker": tp.Energy(0.6),
    "spatial-svd": tp.Energy(0.6),
    "channel-svd": tp.Energy(0.6),
    "deep-k-means": tp.Ranks(40),
    "tt-conv": tp.Ranks(6),
}


def answers(net: nn.Module, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        outputs: Tensor = net.eval()(inputs)
    return outputs


def once(method: str) -> Account:
    torch.manual_seed(0)
    return tp.compress(plain().eval(), image(), method=method, rank=FIRST[method])


@pytest.mark.parametrize("method", FIRST)
def test_the_dense_form_computes_what_the_treated_layer_does(method: str) -> None:
    result = once(method)
    treated = [row.name for row in result.layers if row.method == method]
    assert treated
    model = copy.deepcopy(result.model).eval()
    for name in treated:
        layer = result.model.get_submodule(name)
        made = dense_form(layer)
        assert type(made) is nn.Conv2d
        assert made.weight.shape == plain().get_submodule(name).weight.shape  # type: ignore[union-attr]
        assert made.weight.requires_grad
        model[int(name)] = made
    inputs = torch.randn(2, *image().shape[1:])
    torch.testing.assert_close(answers(model, inputs), answers(result.model, inputs))


@pytest.mark.parametrize("method", FIRST)
def test_a_second_treatment_is_that_of_the_dense_forms(method: str, tmp_path: Path) -> None:
    first = once(method)
    written_out = copy.deepcopy(first.model)
    for row in first.layers:
        if row.method is not None:
            written_out[int(row.name)] = dense_form(first.model.get_submodule(row.name))
    rank = tp.Ranks(2, 3, 2)
    wanted = tp.compress(written_out, image(), rank=rank)
    second = tp.compress(first, image(), rank=rank)
    told = {row.name: row.decision for row in second.layers}
    treated = [row.name for row in first.layers if row.method == method]
    assert {told[name] for name in treated} == {f"ttpwt, was {method}"}
    inputs = torch.randn(2, *image().shape[1:])
    torch.testing.assert_close(answers(second.model, inputs), answers(wanted.model, inputs))
    assert second.params_before == first.params_after
    assert [step["request"]["method"] for step in second.story] == [method, "ttpwt"]
    in_all = first.params_before / second.params_after
    assert f"in all params {first.params_before:,} -> {second.params_after:,}" in str(second)
    assert f"PCR {in_all:.2f}" in str(second)

    tp.save(second, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=plain())
    torch.testing.assert_close(answers(loaded, inputs), answers(second.model, inputs))
    third = tp.compress(loaded, image(), rank=tp.Ranks(1, 1, 1))
    assert [step["request"]["method"] for step in third.story] == [method, "ttpwt", "ttpwt"]
    assert third.story[:2] == second.story


@pytest.mark.parametrize("method", [name for name in FIRST if name != "tt-conv"])
def test_what_does_not_get_smaller_stays_as_it_was(method: str) -> None:
    first = once(method)
    again = tp.compress(first.model, image(), rank=tp.Energy(1.0))
    assert (again.pcr, again.fcr) == (1.0, 1.0)
    assert all(row.decision.startswith("kept: ") for row in again.layers)
    for (name, value), (_, before) in zip(
        again.model.state_dict().items(), first.model.state_dict().items(), strict=True
    ):
        assert torch.equal(value, before), name


def test_budgets_and_images_take_what_was_treated_as_well() -> None:
    first = once("ttpwt")
    before = copy.deepcopy(first.model.state_dict())
    images = torch.randn(64, *image().shape[1:])
    for more in ({}, {"calibration": images, "recover": False}):
        result = tp.compress(first, image(), budget=tp.Budget(params=1.3), **more)  # type: ignore[arg-type]
        assert result.pcr >= 1.3
        assert len(result.story) == 2
    assert all(torch.equal(value, before[n]) for n, value in first.model.state_dict().items())


def test_shared_rows_do_not_take_more_macs_than_a_chain() -> None:
    first = once("ttpwt")
    name = next(row.name for row in first.layers if row.method)
    second = tp.share_weights(first.model, image(), clusters=4, include=[name])
    row = next(row for row in second.layers if row.name == name)
    assert row.decision.startswith("kept: would not get smaller")
    shared = tp.share_weights(once("deep-k-means").model, image(), clusters=4, include=[name])
    row = next(row for row in shared.layers if row.name == name)
    assert row.decision == "deep-k-means (saves no MACs), was deep-k-means"


@pytest.mark.parametrize(("weight", "bias"), [(True, False), (False, True), (False, False)])
@pytest.mark.parametrize("method", ["ttpwt", "deep-k-means", "tt-conv"])
def test_what_is_frozen_stays_frozen_through_every_treatment(
    method: str, weight: bool, bias: bool
) -> None:
    net = nn.Sequential(nn.Conv2d(3, 24, 3), nn.Conv2d(24, 24, 3)).eval()
    net[1].weight.requires_grad_(weight)
    net[1].bias.requires_grad_(bias)  # type: ignore[union-attr]
    first = tp.compress(net, image(), method=method, rank=FIRST[method])
    for result in (first, tp.compress(first, image(), rank=tp.Ranks(2, 3, 2))):
        for name, parameter in result.model[1].named_parameters():
            wanted = bias if name.split(".")[-1] == "bias" else weight
            assert parameter.requires_grad == wanted, name
        assert not any(module.training for module in result.model.modules())


def test_hooks_on_a_chain_or_in_it_are_not_lost_in_silence() -> None:
    for listen in (lambda chain: chain, lambda chain: chain[0]):
        first = once("ttpwt")
        name = next(row.name for row in first.layers if row.method)
        listen(first.model.get_submodule(name)).register_forward_hook(lambda *_: None)
        with pytest.raises(tp.TensorpressError, match=f"'{name}' carries forward_hooks"):
            tp.compress(first.model, image(), rank=tp.Energy(0.5))


def test_in_place_and_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    first = once("ttpwt")
    structure = str(first.model)
    second = tp.compress(first.model, image(), rank=tp.Ranks(1, 2, 1), inplace=True)
    assert second.model is first.model
    assert str(first.model) != structure
    changed = str(first.model)

    def fails(*_: object) -> None:
        raise RuntimeError("on the way")

    monkeypatch.setattr("tensorpress.compression.accounting.count", fails)
    with pytest.raises(RuntimeError, match="on the way"):
        tp.compress(first.model, image(), rank=tp.Ranks(1, 1, 1), inplace=True)
    assert str(first.model) == changed


def test_pruning_by_name_and_then_decomposing() -> None:
    pytest.importorskip("torch_pruning")
    torch.manual_seed(0)
    pruned = tp.compress(plain().eval(), image(), method="l1", budget=tp.Budget(macs=1.5))
    same = tp.prune(plain().eval(), image(), budget=tp.Budget(macs=1.5), skip_first=True)
    assert [row.decision for row in pruned.layers] == [row.decision for row in same.layers]
    second = tp.compress(pruned, image(), rank=tp.Energy(0.5))
    assert [step["request"]["method"] for step in second.story] == ["l1", "ttpwt"]
    every = tp.compress(
        plain().eval(), image(), method="l1", budget=tp.Budget(macs=1.5), skip_first=False
    )
    assert every.layers[0].method == "l1"
    with pytest.raises(tp.TensorpressError, match="pruned to a budget"):
        tp.compress(plain(), image(), method="l1", rank=tp.Energy(0.5))
