"""Every method through compress: budgets, files, images, the account, and what is refused."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.layers import DECOMPOSITIONS, Blocks, Factorized

RIVALS = [name for name in DECOMPOSITIONS if name != "ttpwt"]
ONE_ORDER = [name for name in RIVALS if not name.endswith("-reversed")]
"""For what takes long: a train with its axes in the other order shares all code with the first."""
IMAGE = torch.zeros(1, 3, 10, 10)
SLOW = ("cp", "depthwise-separable")
"""They look for a rank at every threshold that is measured."""


def net(seed: int = 0) -> nn.Module:
    """Kernels whose spectra fall, as those of trained ones do; groups, a stride, a 1x1."""
    torch.manual_seed(seed)
    made = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, stride=2, padding=1, groups=2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 24, 1),
        nn.Flatten(),
        nn.Linear(600, 5),
    )
    for layer in (made[3], made[5], made[8]):
        falling = torch.exp(-0.25 * torch.arange(layer.weight.shape[0]))
        layer.weight.data *= falling.reshape(-1, 1, 1, 1)
    for module in made:
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    made(images(256))
    return made.eval()


def images(count: int = 256) -> Tensor:
    return torch.randn(count, 3, 10, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("method", ONE_ORDER)
def test_budgets_are_met_and_the_account_is_counted(method: str) -> None:
    budget = tp.Budget(params=1.01, macs=1.05) if method in SLOW else tp.Budget(1.2, 1.6)
    include = ["5"] if method in SLOW else None
    result = tp.compress(net(), IMAGE, method=method, budget=budget, include=include)
    assert budget.is_met(result.pcr, result.fcr)
    counted = tp.count(result.model, IMAGE)
    assert (counted.params, counted.macs) == (result.params_after, result.macs_after)
    made = [row for row in result.layers if row.ranks]
    assert made
    for row in made:
        assert row.decision.startswith(method)
        assert row.macs_after == counted.layers[row.name].macs
        assert row.kept_energy == pytest.approx(1 - row.relative_error**2, abs=1e-4)  # type: ignore[operator]
    assert result.request["method"] == method


@pytest.mark.parametrize("method", ONE_ORDER)
def test_a_file_gives_the_same_network_back(method: str, tmp_path: Path) -> None:
    rule = tp.Ranks(8) if method in SLOW else tp.RelativeError(0.5)
    result = tp.compress(net(), IMAGE, method=method, rank=rule, linear=True, balance=True)
    tp.save(result, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=net(1)).eval()
    assert str(loaded) == str(result.model)
    assert {m.method for m in loaded.modules() if isinstance(m, Factorized)} == {method}
    with torch.no_grad():
        assert torch.equal(loaded(images(3)), result.model(images(3)))


def test_ranks_in_a_file_that_kronecker_cannot_have(tmp_path: Path) -> None:
    result = tp.compress(net(), IMAGE, method="kronecker", rank=tp.Energy(0.5), include=["3"])
    result.model[3].ranks = (2, 7, 1)
    tp.save(result.model, tmp_path / "net.tp")
    with pytest.raises(tp.TensorpressError, match=r"net.tp does not fit: layer '3'.*7 does not"):
        tp.load(tmp_path / "net.tp", into=net())


def output_error(model: nn.Module, original: nn.Module) -> float:
    with torch.no_grad():
        wanted = original(images())
        return float((model.eval()(images()) - wanted).norm() / (wanted - wanted.mean(0)).norm())


@pytest.mark.parametrize("method", ONE_ORDER)
def test_layers_are_reconstructed_from_images(method: str) -> None:
    """At the ranks of plain factors, those of kernels fitted to the original answer closer."""
    original = net()
    rule = tp.Ranks(8) if method in SLOW else tp.Energy(0.8)
    plain = tp.compress(original, IMAGE, method=method, rank=rule)
    ranks = {row.name: tp.Ranks(*row.ranks) for row in plain.layers if row.ranks}
    errors = []
    for steps in ({"data_aware": False, "reconstruct": False}, {}):
        recovery = tp.Recovery(distil_epochs=0, **steps)
        result = tp.compress(
            original, IMAGE, method=method, rank=ranks, calibration=images(), recover=recovery
        )
        assert [row.ranks for row in result.layers] == [row.ranks for row in plain.layers]
        errors.append(output_error(result.model, original))
    assert errors[1] < errors[0]


@pytest.mark.parametrize("method", [name for name in ONE_ORDER if name not in SLOW])
def test_budgets_are_spread_and_networks_distilled_with_images(method: str) -> None:
    original, budget = net(), tp.Budget(macs=1.7)
    plain = tp.compress(original, IMAGE, method=method, budget=budget)
    recovery = tp.Recovery(distil_epochs=2)
    result = tp.compress(
        original, IMAGE, method=method, budget=budget, calibration=images(), recover=recovery
    )
    assert result.fcr >= 1.7
    assert output_error(result.model, original) < 1.02 * output_error(plain.model, original)


@torch.no_grad()
def test_degenerate_terms_are_told_in_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    made = net()
    for limit in (5.0, 0.5):
        monkeypatch.setattr("tensorpress.decompose.cp.INTENSE", limit)
        result = tp.compress(made, IMAGE, method="cp", rank=tp.Ranks(9), include=["3"])
        row = next(row for row in result.layers if row.name == "3")
        chain = result.model[3]
        norms = torch.stack([layer.weight.flatten(1).norm(dim=1) for layer in chain[:-1]])
        terms = norms.prod(0) * chain[-1].weight.flatten(1).norm(dim=0)
        intensity = float(terms.norm() / made[3].weight.norm())
        told = f"cp (degenerate: terms {intensity:.1f} times the kernel nearly cancel)"
        assert row.decision == (told if intensity > limit else "cp")
    assert intensity > 0.5


def test_vbmf_in_a_network_and_by_layer() -> None:
    result = tp.compress(net(), IMAGE, method="tucker2", rank=tp.VBMF())
    assert result.request["rank"] == {"rule": "VBMF"}
    rules = {"3": tp.VBMF(), "*": tp.Energy(0.5)}
    assert tp.compress(net(), IMAGE, method="channel-svd", rank=rules).pcr > 1


@pytest.mark.parametrize(
    "rank",
    [tp.SingularSum(0.6), {"3": tp.SingularSum(0.6), "*": tp.Energy(0.5)}],
    ids=["one", "by"],
)
def test_a_rule_that_a_method_does_not_understand(rank: tp.SingularSum) -> None:
    with pytest.raises(tp.TensorpressError) as caught:
        tp.compress(net(), IMAGE, method="cp", rank=rank)
    assert str(caught.value) == (
        "cp does not understand SingularSum(tau=0.6): give one of Energy, RelativeError, Ranks."
    )


@pytest.mark.parametrize("method", ONE_ORDER)
def test_depthwise_layers_stay_and_the_account_says_so(method: str) -> None:
    made = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 3))
    rank = tp.Ranks(2) if method in SLOW else tp.Energy(0.5)
    rows = tp.compress(made, IMAGE, method=method, rank=rank).layers
    assert "depthwise" in rows[1].decision


@pytest.mark.parametrize("method", ["tt", "kronecker"])
def test_the_first_convolution_is_found_again(method: str) -> None:
    """Also where it became blocks of convolutions."""
    made = nn.Sequential(nn.Conv2d(16, 24, 3), nn.ReLU(), nn.Conv2d(24, 24, 3))
    image = torch.zeros(1, 16, 10, 10)
    rank = {"tt": tp.Ranks(4, 4, 2), "kronecker": tp.Ranks(2, 4, 4)}[method]
    once = tp.compress(made, image, method=method, rank=rank, include=["0"], skip_first=False)
    assert isinstance(once.model[0][0], Blocks)
    again = tp.compress(once.model, image, rank=tp.Energy(0.5))
    decisions = [row.decision for row in again.layers]
    assert decisions == ["kept: first convolution (skip_first)", "ttpwt"]
