"""`balance`: the same tensor, and as much on either side of every bond."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy_train import numpy_contract
from reference import (
    PROPERTY,
    decaying,
    gaussian,
    ill_conditioned,
    make,
    relative,
    tensors,
)
from torch import Tensor

from tensorpress import Energy, tt_svd
from tensorpress.decompose import balance

Cores = tuple[Tensor, ...]


def contract(cores: Cores) -> object:
    return numpy_contract([core.double().numpy() for core in cores])


def squares(cores: Cores) -> float:
    return sum(float((core.double() ** 2).sum()) for core in cores)


def largest_gap(cores: Cores) -> float:
    """Largest relative difference of the norms on both sides of a bond's slices."""
    gaps = [0.0]
    for left, right in itertools.pairwise(cores):
        before = torch.linalg.vector_norm(left.double(), dim=(0, 1))
        after = torch.linalg.vector_norm(right.double(), dim=(1, 2))
        live = (before > 0) & (after > 0)
        gaps += ((before[live] / after[live]) - 1).abs().tolist()
    return max(gaps)


@PROPERTY
@given(tensors(), st.sampled_from([0.3, 0.8, 0.99]))
def test_same_tensor_balanced_norms_and_no_larger_squares(tensor: Tensor, tau: float) -> None:
    tensor = tensor / tensor.abs().max()
    cores = tt_svd(tensor, Energy(tau)).cores
    copies = tuple(core.clone() for core in cores)
    balanced = balance(cores)
    assert all(torch.equal(core, copy) for core, copy in zip(cores, copies, strict=True))
    tolerance = 1e-5 if tensor.dtype == torch.float32 else 1e-12
    assert relative(contract(cores), contract(balanced)) < tolerance
    assert largest_gap(balanced) < 1e-4
    assert squares(balanced) <= squares(cores) * (1 + 1e-6)
    for new, core in zip(balanced, cores, strict=True):
        assert new.dtype == core.dtype
        assert new.shape == core.shape


@pytest.mark.parametrize("kind", [gaussian, decaying, ill_conditioned])
@pytest.mark.parametrize("shape", [(16, 3, 3, 16), (9, 9), (4, 4, 4, 4, 4)])
@pytest.mark.parametrize("scale", [-1.0, 0.0, 1.0])
def test_full_rank_trains_of_all_scales(kind: object, shape: tuple[int, ...], scale: float) -> None:
    cores = tt_svd(make(shape, kind, 0, torch.float64, scale), Energy(1.0)).cores  # type: ignore[arg-type]
    balanced = balance(cores)
    assert relative(contract(cores), contract(balanced)) < 1e-12
    assert largest_gap(balanced) < 1e-4
    assert squares(balanced) <= squares(cores) * (1 + 1e-12)


def test_no_other_rescaling_of_a_bond_has_smaller_squares() -> None:
    cores = balance(tt_svd(make((6, 5, 7), gaussian, 0, torch.float64), Energy(1.0)).cores)
    least = squares(cores)
    for n in range(len(cores) - 1):
        for factor in (0.9, 0.99, 1.01, 1.1):
            moved = list(cores)
            moved[n] = cores[n].clone()
            moved[n + 1] = cores[n + 1].clone()
            moved[n][:, :, 0] *= factor
            moved[n + 1][0] /= factor
            assert squares(tuple(moved)) > least


def test_all_the_scale_in_the_last_core_is_spread() -> None:
    cores = tt_svd(1e6 * make((8, 3, 3, 8), gaussian, 0, torch.float64), Energy(0.9)).cores
    norms = [float(core.norm()) for core in balance(cores)]
    assert max(norms) / min(norms) < 10 < float(cores[-1].norm()) / float(cores[0].norm())


@pytest.mark.parametrize(
    "zeroed", [(0, slice(None)), (1, 0), (2, slice(None)), (0, 1), (1, slice(None))]
)
def test_zero_slices_are_left_alone(zeroed: tuple[int, object]) -> None:
    cores = [core.clone() for core in tt_svd(torch.randn(4, 3, 5), Energy(1.0)).cores]
    core, index = zeroed
    cores[core][..., index] = 0.0
    balanced = balance(tuple(cores))
    assert all(torch.isfinite(new).all() for new in balanced)
    assert torch.allclose(
        torch.from_numpy(contract(tuple(cores))),  # type: ignore[arg-type]
        torch.from_numpy(contract(balanced)),  # type: ignore[arg-type]
        atol=1e-6,
    )


def test_zero_trains_stay_zero() -> None:
    cores = tt_svd(torch.zeros(4, 3, 5), Energy(0.5)).cores
    assert all(torch.equal(new, core) for new, core in zip(balance(cores), cores, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype) -> None:
    cores = tt_svd(make((8, 3, 3, 8), gaussian, 0, dtype), Energy(0.9)).cores
    balanced = balance(cores)
    assert {new.dtype for new in balanced} == {dtype}
    assert relative(contract(cores), contract(balanced)) < 0.03
