"""TTConv2d: its definition, its two ways to compute, its start, and what it costs."""

import copy
import itertools
import math
import pickle
from typing import Any

import pytest
import torch
from convs import call, relative
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.layers.tensorized import TTConv2d, near_equal_factors

GEOMETRIES: dict[str, dict[str, Any]] = {
    "plain": {"kernel_size": 3},
    "padded": {"kernel_size": 3, "padding": 1},
    "strided": {"kernel_size": (3, 5), "stride": (2, 3), "padding": (1, 2)},
    "dilated": {"kernel_size": 3, "dilation": (1, 2), "padding": "same"},
    "reflected": {"kernel_size": 3, "padding": 2, "padding_mode": "reflect", "stride": 2},
    "circular": {"kernel_size": (1, 3), "padding": (0, 1), "padding_mode": "circular"},
    "pointwise": {"kernel_size": 1, "bias": False},
}
FACTORS = ((2, 3, 2), (3, 2, 1), (4, 5, 2))


def layer_of(geometry: str, *, naive: bool = False) -> TTConv2d:
    torch.manual_seed(0)
    return TTConv2d(*FACTORS, **GEOMETRIES[geometry], naive=naive, dtype=torch.float64)


def slow_kernel(layer: TTConv2d) -> Tensor:
    """The definition, entry by entry: G_0[y, x] G_1[c_1, t_1] ... as a product of matrices."""
    spatial = layer.spatial.weight.detach()
    high, wide = spatial.shape[2:]
    kernel = torch.empty(layer.out_channels, layer.in_channels, high, wide, dtype=spatial.dtype)
    outs = list(itertools.product(*map(range, layer.out_factors)))
    ins = list(itertools.product(*map(range, layer.in_factors)))
    for (t, ts), (c, cs) in itertools.product(enumerate(outs), enumerate(ins)):
        for y, x in itertools.product(range(high), range(wide)):
            row = spatial[:, 0, y, x]
            for core, a, b in zip(layer.cores, cs, ts, strict=True):
                row = row @ core.detach()[:, a, b, :]
            kernel[t, c, y, x] = row.item()
    return kernel


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_both_ways_are_the_convolution_with_the_kernel_of_the_definition(geometry: str) -> None:
    layer, naive = layer_of(geometry), layer_of(geometry, naive=True)
    kernel = slow_kernel(layer)
    torch.testing.assert_close(layer.kernel().detach(), kernel)
    options = {"padding_mode": "zeros", "bias": True} | GEOMETRIES[geometry]
    conv = nn.Conv2d(12, 6, **options, dtype=torch.float64)
    conv.weight.data = kernel
    if conv.bias is not None:
        assert layer.bias is not None
        conv.bias.data = layer.bias.data
    for inputs in (torch.randn(2, 12, 8, 9), torch.randn(12, 8, 9), torch.randn(0, 12, 8, 9)):
        expected = call(conv, inputs.double())
        for made in (layer, naive):
            assert call(made, inputs.double()).shape == expected.shape
            assert relative(expected, call(made, inputs.double())) < 1e-12


@pytest.mark.parametrize("naive", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_from_a_trained_kernel(geometry: str, naive: bool) -> None:
    conv = nn.Conv2d(12, 20, **GEOMETRIES[geometry]).double()
    before, inputs = copy.deepcopy(conv.state_dict()), torch.randn(2, 12, 8, 9).double()
    full = TTConv2d.from_conv(conv, tp.Energy(1.0), naive=naive)
    assert relative(call(conv, inputs), call(full, inputs)) < 1e-12
    assert (full.in_factors, full.out_factors) == ((2, 3, 2), (2, 5, 2))
    low = TTConv2d.from_conv(conv, tp.RelativeError(0.8), naive=naive)
    assert relative(conv.weight.detach(), low.kernel().detach()) <= 0.8
    assert sum(low.ranks) < sum(full.ranks)
    two = TTConv2d.from_conv(conv, tp.Ranks(1, 3), in_factors=(3, 4), out_factors=(4, 5))
    assert two.ranks == (1, 3)
    for name, value in conv.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize(
    ("factors", "ranks", "kernel"),
    [
        (((4, 4), (4, 4)), (5, 6), 3),
        (((2, 3, 2), (3, 2, 2)), (4, 5, 3), (3, 1)),
        (((9,), (8,)), (2,), 1),
    ],
)
def test_the_kernel_starts_with_the_variance_of_he(
    factors: tuple[tuple[int, ...], tuple[int, ...]], ranks: tuple[int, ...], kernel: Any
) -> None:
    """Over many draws: entries of one kernel hang together through its cores."""
    torch.manual_seed(0)
    layer = TTConv2d(*factors, ranks, kernel)
    energies = []
    for _ in range(400):
        layer.reset_parameters()
        energies.append(float(layer.kernel().detach().square().mean()))
    fan_in = layer.in_channels * layer.spatial.weight[0].numel()
    assert sum(energies) / len(energies) == pytest.approx(2 / fan_in, rel=0.1)
    assert layer.bias is not None
    assert float(layer.bias.detach().abs().max()) <= fan_in**-0.5


def test_the_cost_by_hand() -> None:
    contraction, naive = layer_of("strided"), layer_of("strided", naive=True)
    (c1, c2, c3), (t1, t2, t3), (r0, r1, r2) = FACTORS
    params = 15 * r0 + r0 * c1 * t1 * r1 + r1 * c2 * t2 * r2 + r2 * c3 * t3 + 6
    image = torch.zeros(2, 12, 8, 9)
    positions = 2 * 4 * 3
    macs = c1 * c2 * c3 * 15 * r0 + (r0 * c1 * t1 * r1) * c2 * c3
    macs = positions * (macs + (r1 * c2 * t2 * r2) * c3 * t1 + (r2 * c3 * t3) * t1 * t2)
    multiplied = 15 * (
        r0 * c1 * t1 * r1 + c1 * t1 * r1 * c2 * t2 * r2 + c1 * t1 * c2 * t2 * r2 * c3 * t3
    )
    dense = positions * 12 * 6 * 15
    for layer, expected in ((contraction, macs), (naive, multiplied + dense)):
        cost = tp.count(nn.Sequential(layer), image.double())
        assert (cost.params, cost.macs) == (params, expected)
        assert list(cost.layers) == ["0"]
        assert cost.layers["0"].inputs == [(2, 12, 8, 9)]


def test_gradients_reach_every_core_alike() -> None:
    inputs = torch.randn(2, 12, 8, 9).double()
    both = [layer_of("padded", naive=naive) for naive in (False, True)]
    for layer in both:
        layer(inputs).square().sum().backward()
    for one, two in zip(*(layer.parameters() for layer in both), strict=True):
        assert one.grad is not None
        assert one.grad.norm() > 0
        torch.testing.assert_close(one.grad, two.grad)


def test_copies_and_exports() -> None:
    layer, inputs = layer_of("padded").eval(), torch.randn(3, 12, 8, 9).double()
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(call(twin, inputs), call(layer, inputs))
        assert repr(twin) == repr(layer)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(layer, (inputs,), dynamic_shapes=({0: batch},)).module()
    more = torch.randn(5, 12, 8, 9).double()
    assert relative(call(layer, more), call(program, more)) < 1e-12


@pytest.mark.parametrize(
    ("number", "count", "factors"),
    [
        (64, 3, (4, 4, 4)),
        (128, 3, (4, 8, 4)),
        (7, 3, (1, 7, 1)),
        (12, 2, (3, 4)),
        (1, 2, (1, 1)),
        (30, 1, (30,)),
    ],
)
def test_factors(number: int, count: int, factors: tuple[int, ...]) -> None:
    assert sorted(near_equal_factors(number, count)) == sorted(factors)


@pytest.mark.parametrize("number", [*range(1, 40), 96, 100, 210, 256, 512])
def test_no_other_factors_are_more_equal(number: int) -> None:
    found = near_equal_factors(number, 3)
    assert math.prod(found) == number
    assert found[1] == max(found)
    divisors = [n for n in range(1, number + 1) if number % n == 0]
    sums = [a + b + number // (a * b) for a in divisors for b in divisors if number % (a * b) == 0]
    assert sum(found) == min(sums)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TTConv2d((2, 2), (2, 2), (3,), 3), r"as many input factors.*\(3,\)"),
        (lambda: TTConv2d((2, 2), (2, 0), (3, 3), 3), "0 is no factor or rank"),
        (lambda: near_equal_factors(0, 3), "0 is no number to factor"),
        (
            lambda: TTConv2d.from_conv(nn.Conv2d(4, 4, 3, groups=2), tp.Energy(0.5)),
            "cannot be tensorized: it has 2 groups",
        ),
        (
            lambda: TTConv2d.from_conv(nn.Conv1d(4, 4, 3), tp.Energy(0.5)),  # type: ignore[arg-type]
            "Conv1d is no Conv2d",
        ),
        (
            lambda: TTConv2d.from_conv(nn.Conv2d(4, 6, 3), tp.Energy(0.5), out_factors=(2, 2, 2)),
            r"\(2, 2, 2\) multiply to 8, and the layer has 6",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(make: Any, words: str) -> None:
    with pytest.raises(tp.TensorpressError, match=words) as caught:
        make()
    assert "\n" not in str(caught.value)
