import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tensorpress as tp
from tensorpress.artifacts import LayerEntry
from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.layers import Factorized
from tensorpress.report.spectra import StepSpectrum, read_spectra
from tensorpress.request.request import Calibration


def conv(groups: int = 1) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(12, 18, 3, groups=groups))


def entries(net: nn.Module, rank: tp.Energy | tp.Ranks | tp.RelativeError) -> dict[str, LayerEntry]:
    layer = tp.factorize(net[0], rank=rank)
    assert isinstance(layer, Factorized)
    return {"0": LayerEntry(layer.method, layer.ranks)}


@pytest.mark.parametrize("groups", [1, 3])
def test_the_first_step_is_the_spectrum_of_the_first_unfolding(groups: int) -> None:
    net = conv(groups)
    found = read_spectra(net, entries(net, tp.Ranks(3, 5, 4)), None)["0"]
    squares = torch.zeros((), dtype=torch.float64)
    for kernel in net[0].weight.detach().double().chunk(groups):
        unfolding = kernel.permute(1, 2, 3, 0).reshape(12 // groups, -1)
        squares = squares + torch.linalg.svdvals(unfolding) ** 2
    expected = squares.cumsum(0) / squares.sum()
    assert found.steps[0].kept == pytest.approx(expected.tolist(), rel=1e-5)
    assert [step.rank for step in found.steps] == [3, 5, 4]


@pytest.mark.parametrize("tau", [0.3, 0.6, 0.9])
def test_the_ranks_are_the_first_above_the_threshold(tau: float) -> None:
    net = conv()
    found = read_spectra(net, entries(net, tp.Energy(tau)), Request(rank=tp.Energy(tau)))["0"]
    product = 1.0
    for step in found.steps:
        assert step.threshold == tau
        assert step.kept[step.rank - 1] > tau
        assert step.rank == 1 or step.kept[step.rank - 2] <= tau
        product *= step.kept[step.rank - 1]
    assert found.kept_energy == pytest.approx(product, rel=1e-5)


@pytest.mark.parametrize("eps", [0.2, 0.5])
def test_an_error_bound_is_a_threshold_too(eps: float) -> None:
    net = conv()
    rule = tp.RelativeError(eps)
    found = read_spectra(net, entries(net, rule), Request(rank=rule))["0"]
    for step in found.steps:
        assert step.threshold is not None
        assert step.kept[step.rank - 1] >= step.threshold - 1e-6
        assert step.rank == 1 or step.kept[step.rank - 2] < step.threshold + 1e-6


def test_rules_by_pattern_and_rules_without_a_threshold() -> None:
    net = conv()
    ranks = entries(net, tp.Energy(0.6))
    for request, expected in (
        (Request(rank={"0": tp.Energy(0.6), "*": tp.Energy(0.1)}), 0.6),
        (Request(rank={"nothing": tp.Energy(0.6)}), None),
        (Request(rank=tp.SingularSum(0.6)), None),
        (Request(budget=tp.Budget(params=2)), None),
        (None, None),
    ):
        found = read_spectra(net, ranks, request)["0"]
        assert {step.threshold for step in found.steps} == {expected}


def test_a_kernel_of_zeros_has_no_spectra() -> None:
    net = conv()
    nn.init.zeros_(net[0].weight)
    assert read_spectra(net, {"0": LayerEntry("ttpwt", (1, 1, 1))}, None)["0"].steps == ()


@pytest.mark.parametrize(
    ("name", "entry", "message"),
    [
        ("9", LayerEntry("ttpwt", (1, 1, 1)), "has no layer '9'"),
        ("0", LayerEntry("ttpwt", (1, 1)), "2 ranks"),
        ("0", LayerEntry("ttpwt", (10**6, 1, 1)), "cannot have the ranks"),
        ("0", LayerEntry("magic", (1, 1, 1)), "magic"),
    ],
)
def test_entries_of_another_network_are_refused(name: str, entry: LayerEntry, message: str) -> None:
    with pytest.raises(TensorpressError, match=message):
        read_spectra(conv(), {name: entry}, None)


@settings(deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=30), st.floats(0.01, 0.99))
def test_the_rank_that_a_share_needs(sizes: list[float], share: float) -> None:
    total, kept, so_far = sum(sizes), [], 0.0
    for size in sizes:
        so_far += size
        kept.append(min(so_far / total, 1.0))
    need = StepSpectrum(tuple(kept), 1, None).needs(share)
    assert 1 <= need <= len(kept)
    assert need == len(kept) or kept[need - 1] >= share
    assert need == 1 or kept[need - 2] < share


@pytest.mark.parametrize(
    ("method", "sides"), [("cp", (12, 36, 108)), ("depthwise-separable", (12, 108))]
)
def test_no_sum_of_terms_keeps_more_than_its_unfoldings(
    method: str, sides: tuple[int, ...]
) -> None:
    net = conv()
    layer = tp.factorize(net[0], method=method, rank=tp.Ranks(4))
    assert isinstance(layer, Factorized)
    found = read_spectra(net, {"0": LayerEntry(layer.method, layer.ranks)}, None)["0"]
    assert not found.truncated
    assert found.kept_energy is not None
    kernel = net[0].weight.detach().permute(1, 2, 3, 0).double().numpy()
    for step, side in zip(found.steps, sides, strict=True):
        squares = np.linalg.svd(kernel.reshape(side, -1), compute_uv=False) ** 2
        assert step.kept == pytest.approx((squares.cumsum() / squares.sum()).tolist())
        assert step.rank == 4
        assert found.kept_energy <= step.kept[3]


def test_terms_that_were_fitted_to_images_are_not_searched_for_again() -> None:
    net = conv()
    request = Request(budget=tp.Budget(macs=2), calibration=Calibration(64))
    found = read_spectra(net, {"0": LayerEntry("cp", (5,))}, request)["0"]
    assert found.kept_energy is None
    assert [step.rank for step in found.steps] == [5, 5, 5]
