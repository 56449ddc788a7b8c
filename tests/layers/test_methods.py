"""Every method on one layer: exact at full rank, counted as torch counts, and plain inside."""

import copy
import math
import pickle
from itertools import pairwise

import pytest
import torch
from convs import EXACT, PROPERTY, Case, call, cases, relative, shifted, with_kernels
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tensorpress import (
    VBMF,
    Energy,
    Ranks,
    RelativeError,
    SingularSum,
    TensorpressError,
    factorize,
)
from tensorpress.layers import DECOMPOSITIONS, Blocks, Factorized, factorize_layer, prepare_layer
from tensorpress.layers.methods import Factorization

RIVALS = [name for name in DECOMPOSITIONS if name != "ttpwt"]
RIVAL = st.sampled_from(RIVALS)
ONE_ORDER = [name for name in RIVALS if not name.endswith("-reversed")]
"""For what takes long: a train with its axes in the other order shares all code with the first."""
PLAIN = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    nn.Linear,
)
EXAMPLES = settings(PROPERTY, max_examples=80)
"""Five or so of each method, all on layers of their own."""
LAYERS = {
    "Conv1d": (nn.Conv1d(6, 8, 3, stride=2, padding=1), (2, 6, 9)),
    "Conv2d": (
        nn.Conv2d(8, 12, 3, stride=(2, 1), padding=(1, 2), groups=2, padding_mode="reflect"),
        (2, 8, 9, 8),
    ),
    "1x3": (nn.Conv2d(6, 8, (1, 3), stride=2, padding=(2, 1)), (2, 6, 7, 8)),
    "3x1": (nn.Conv2d(6, 8, (3, 1), stride=2, padding=(1, 2)), (2, 6, 7, 8)),
    "1x1": (nn.Conv2d(6, 8, 1, stride=2), (2, 6, 7, 8)),
    "Conv3d": (nn.Conv3d(4, 6, (1, 2, 3), dilation=2), (1, 4, 5, 6, 7)),
    "ConvTranspose1d": (nn.ConvTranspose1d(6, 8, 4, stride=2, padding=1), (2, 6, 9)),
    "ConvTranspose2d": (
        nn.ConvTranspose2d(8, 12, (3, 2), (2, 3), (1, 0), (1, 2), groups=2, dilation=(2, 1)),
        (2, 8, 5, 6),
    ),
    "ConvTranspose3d": (nn.ConvTranspose3d(4, 6, (1, 2, 3), stride=2), (1, 4, 3, 4, 3)),
    "Linear": (nn.Linear(6, 8), (3, 6)),
}


def rule_for(method: str, tau: float) -> Energy | Ranks:
    """``Energy(tau)``, but for sums of terms, which would take long to look for their rank."""
    return Ranks(3) if method in ("cp", "depthwise-separable") else Energy(tau)


def plain(chain: Factorized) -> list[nn.Module]:
    return [m for m in chain.modules() if not isinstance(m, (Factorized, Blocks))]


def dense_of(layer: nn.Module, method: str, ranks: Ranks) -> tuple[nn.Module, Factorized]:
    """The layer with the kernel that its factors stand for, and their chain."""
    fit = factorize_layer("layer", layer, method, ranks)
    kernels = fit.kernels(layer).numpy()  # type: ignore[arg-type]
    if isinstance(layer, nn.Linear):
        dense = copy.deepcopy(layer)
        with torch.no_grad():
            dense.weight.copy_(torch.from_numpy(kernels[0].T))
    else:
        own = shifted(layer)  # type: ignore[arg-type]
        folded = [kernel.reshape(o.shape) for kernel, o in zip(kernels, own, strict=True)]
        dense = with_kernels(layer, folded)  # type: ignore[arg-type, assignment]
    return dense, fit.to_module(layer)  # type: ignore[arg-type, return-value]


@EXAMPLES
@given(RIVAL, cases(), st.booleans(), st.sampled_from([Energy(1.0), RelativeError(0.0)]))
def test_full_rank_is_exact(method: str, case: Case, balance: bool, rule: Energy) -> None:
    conv, inputs = case.build()
    expected = call(conv, inputs)
    outputs = call(factorize(conv, method=method, rank=rule, balance=balance), inputs)
    assert outputs.shape == expected.shape
    assert outputs.dtype == expected.dtype
    assert relative(expected, outputs) < EXACT[case.dtype]


@EXAMPLES
@given(RIVAL, cases([torch.float64]), st.sampled_from([0.2, 0.6, 0.9]))
def test_below_full_rank_a_chain_is_the_convolution_with_its_kernel(
    method: str, case: Case, tau: float
) -> None:
    conv, inputs = case.build()
    fit = factorize_layer("conv", conv, method, rule_for(method, tau))
    dense, chain = dense_of(conv, method, Ranks(*fit.ranks))
    assert chain.ranks == fit.ranks
    assert relative(call(dense, inputs), call(chain, inputs)) < 1e-8
    error = relative(conv.weight.detach(), dense.weight.detach())  # type: ignore[operator, arg-type]
    assert fit.relative_error == pytest.approx(error, abs=1e-8)
    if method in ("tucker2", "tt", "cp", "depthwise-separable"):
        assert fit.kept_energy == pytest.approx(1 - error**2, abs=1e-8)


@EXAMPLES
@given(RIVAL, cases([torch.float32]), st.sampled_from([0.2, 0.7]))
def test_the_cost_is_torch_s_count(method: str, case: Case, tau: float) -> None:
    conv, inputs = case.build()
    chain = factorize(conv, method=method, rank=rule_for(method, tau))
    with FlopCounterMode(display=False) as counter:
        call(chain, inputs)
    counted = sum(p.numel() for p in chain.parameters()), counter.get_total_flops() // 2
    predicted = DECOMPOSITIONS[method].cost(conv, chain.ranks, [tuple(inputs.shape)])
    assert predicted == counted


@pytest.mark.parametrize("method", ONE_ORDER)
@pytest.mark.parametrize("kind", LAYERS)
def test_children_copies_and_exports(method: str, kind: str) -> None:
    torch.manual_seed(0)
    layer, shape = LAYERS[kind]
    inputs = torch.randn(shape)
    chain = factorize(layer, method=method, rank=rule_for(method, 0.6)).eval()
    assert {type(module) for module in plain(chain)} == {type(layer)}
    biases = [name for name, _ in chain.named_parameters() if name.endswith("bias")]
    assert len(biases) == 1
    assert torch.equal(chain[-1].bias, layer.bias)  # type: ignore[arg-type]
    for twin in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert (twin.method, twin.ranks, repr(twin)) == (method, chain.ranks, repr(chain))
        assert torch.equal(call(twin, inputs), call(chain, inputs))
    empty = DECOMPOSITIONS[method].build(layer, chain.ranks, device="meta")
    assert repr(empty) == repr(chain.train())
    empty.load_state_dict(chain.state_dict(), assign=True)
    assert torch.equal(call(empty, inputs), call(chain, inputs))
    program = torch.export.export(chain.eval(), (inputs,))
    assert relative(call(chain, inputs), call(program.module(), inputs)) < 1e-5


BLOCKS = {
    "tt": (4, 6, 3),
    "tensor-ring": (2, 3, 4, 3),
    "kronecker": (3, 4, 2),
    "hierarchical-tucker": (4, 1, 4, 1, 4),
}


@pytest.mark.parametrize("method", BLOCKS)
def test_blocks_compile_and_export_for_any_batch(method: str) -> None:
    torch.manual_seed(0)
    ranks = BLOCKS[method]
    conv, inputs = nn.Conv2d(8, 12, 3, padding=1), torch.randn(3, 8, 6, 6)
    chain = factorize(conv, method=method, rank=Ranks(*ranks)).eval()
    assert any(isinstance(child, Blocks) for child in chain)
    batch = torch.export.Dim("batch", min=2, max=64)
    program = torch.export.export(chain, (inputs,), dynamic_shapes=({0: batch},)).module()
    more = torch.randn(7, 8, 6, 6)
    assert relative(call(chain, more), call(program, more)) < 1e-5
    torch.compiler.reset()
    compiled = torch.compile(chain, fullgraph=True, backend="aot_eager")
    assert relative(call(chain, inputs), call(compiled, inputs)) < 1e-5
    assert call(chain, torch.randn(0, 8, 6, 6)).shape == (0, 12, 6, 6)


SUBLAYERS = {
    "ttpwt-reversed": ((4, 6, 7), [(4, 8, 1, 1), (6, 4, 1, 5), (7, 6, 3, 1), (16, 7, 1, 1)]),
    "pointwise-spatial": ((4, 6), [(4, 8, 1, 1), (6, 4, 3, 1), (16, 6, 1, 5)]),
    "pointwise-spatial-reversed": ((4, 6), [(4, 8, 1, 1), (6, 4, 1, 5), (16, 6, 3, 1)]),
    "spatial-pointwise": ((4, 6), [(4, 8, 3, 1), (6, 4, 1, 5), (16, 6, 1, 1)]),
    "spatial-pointwise-reversed": ((4, 6), [(4, 8, 1, 5), (6, 4, 3, 1), (16, 6, 1, 1)]),
    "tucker2": ((4, 6), [(4, 8, 1, 1), (6, 4, 3, 5), (16, 6, 1, 1)]),
    "cp": ((7,), [(7, 8, 1, 1), (7, 1, 3, 1), (7, 1, 1, 5), (16, 7, 1, 1)]),
    "kronecker": ((3, 4, 2), [(3 * 4, 4, 3, 5), (4, 2 * 3, 1, 1)]),
    "tt": ((6, 5, 4), [(4, 1, 1, 5), (5, 4, 3, 1), (6, 8 * 5, 1, 1), (16, 6, 1, 1)]),
    "tensor-ring": ((2, 3, 4, 5), [(2 * 3, 8, 1, 1), (4, 3, 3, 1), (5, 4, 1, 5), (16, 10, 1, 1)]),
    "hierarchical-tucker": (
        (6, 1, 6, 2, 5),
        [(6, 8, 1, 1), (1, 1, 3, 1), (6, 6, 1, 1), (2, 1, 1, 5), (5, 6 * 2, 1, 1), (16, 5, 1, 1)],
    ),
    "spatial-svd": ((5,), [(5, 8, 3, 1), (16, 5, 1, 5)]),
    "spatial-svd-reversed": ((5,), [(5, 8, 1, 5), (16, 5, 3, 1)]),
    "channel-svd": ((5,), [(5, 8, 3, 5), (16, 5, 1, 1)]),
    "input-svd": ((5,), [(5, 8, 1, 1), (16, 5, 3, 5)]),
    "depthwise-separable": ((9,), [(9, 8, 1, 1), (9, 1, 3, 5), (16, 9, 1, 1)]),
}


@pytest.mark.parametrize("method", RIVALS)
def test_sublayers_of_the_papers(method: str) -> None:
    conv = nn.Conv2d(8, 16, (3, 5), stride=(2, 3), padding=(1, 2))
    ranks, shapes = SUBLAYERS[method]
    chain = factorize(conv, method=method, rank=Ranks(*ranks))
    layers = plain(chain)
    assert chain.ranks == ranks
    assert [tuple(layer.weight.shape) for layer in layers] == shapes  # type: ignore[union-attr, arg-type]
    strides = [layer.stride for layer in layers]
    assert tuple(math.prod(axis) for axis in zip(*strides, strict=True)) == (2, 3)  # type: ignore[arg-type]


UNIT: dict[str, list[tuple[tuple[int, ...], ...]]] = {
    "tucker2": [((1, 1), (3, 4), (3,)), ((1, 3), (3, 4), (3, 4))],
    "tt": [((1, 3), (4, 3, 2), (4, 2)), ((3, 1), (4, 3, 2), (4, 3)), ((1, 1), (4, 3, 2), (4,))],
    "tensor-ring": [((1, 3), (2, 2, 3, 4), (2, 2, 4)), ((1, 1), (2, 2, 3, 4), (2, 2))],
    "hierarchical-tucker": [
        ((1, 3), (4, 2, 3, 2, 4), (3, 2, 4)),
        ((3, 1), (4, 2, 3, 2, 4), (4, 2, 3)),
        ((1, 1), (4, 2, 3, 2, 4), (3,)),
    ],
    "spatial-svd": [((1, 3), (4,), (4,)), ((1, 1), (4,), (4,))],
    "channel-svd": [((1, 1), (4,), (4,))],
    "cp": [((1, 3), (4,), (4,)), ((1, 1), (4,), (4,))],
    "ttpwt-reversed": [
        ((1, 3), (5, 4, 3), (5, 3)),
        ((3, 1), (5, 4, 3), (4, 3)),
        ((1, 1), (5, 4, 3), (3,)),
    ],
    "pointwise-spatial": [((1, 3), (4, 3), (3,)), ((3, 1), (3, 4), (3,)), ((1, 1), (4, 3), (3,))],
    "spatial-pointwise": [((1, 3), (4, 3), (3,)), ((3, 1), (3, 4), (3,)), ((1, 1), (4, 3), (3,))],
    "spatial-svd-reversed": [((1, 3), (4,), (4,)), ((1, 1), (4,), (4,))],
    "input-svd": [((1, 3), (4,), (4,)), ((1, 1), (4,), (4,))],
    "depthwise-separable": [((1, 3), (4,), (4,)), ((1, 1), (4,), (4,))],
}


@pytest.mark.parametrize(
    ("method", "kernel", "asked", "ranks"), [(m, *c) for m, many in UNIT.items() for c in many]
)
def test_ranks_by_hand_where_some_axes_are_one(
    method: str, kernel: tuple[int, int], asked: tuple[int, ...], ranks: tuple[int, ...]
) -> None:
    fit = factorize_layer("conv", nn.Conv2d(8, 8, kernel), method, Ranks(*asked))
    assert fit.ranks == ranks
    assert not fit.clamped


@pytest.mark.parametrize("method", RIVALS)
def test_ranks_over_their_bounds_are_lowered_and_it_is_told(method: str) -> None:
    asked = {"kronecker": (99, 4, 2)}.get(method, (99,) * len(SUBLAYERS[method][0]))
    conv, inputs = nn.Conv2d(8, 12, 3), torch.randn(1, 8, 6, 6)
    fit = factorize_layer("conv", conv, method, Ranks(*asked))
    assert fit.clamped
    assert all(rank <= wanted for rank, wanted in zip(fit.ranks, asked, strict=True))
    if method != "kronecker":
        assert relative(call(conv, inputs), call(fit.to_module(conv), inputs)) < 1e-4


UNDERSTOOD = {
    "ttpwt": {Energy, SingularSum, RelativeError, Ranks},
    "ttpwt-reversed": {Energy, SingularSum, RelativeError, Ranks},
    "pointwise-spatial": {Energy, SingularSum, RelativeError, Ranks},
    "pointwise-spatial-reversed": {Energy, SingularSum, RelativeError, Ranks},
    "spatial-pointwise": {Energy, SingularSum, RelativeError, Ranks},
    "spatial-pointwise-reversed": {Energy, SingularSum, RelativeError, Ranks},
    "tucker2": {Energy, SingularSum, RelativeError, VBMF, Ranks},
    "cp": {Energy, RelativeError, Ranks},
    "kronecker": {Energy, SingularSum, RelativeError, Ranks},
    "tt": {Energy, SingularSum, RelativeError, Ranks},
    "tensor-ring": {Energy, SingularSum, RelativeError, Ranks},
    "hierarchical-tucker": {Energy, SingularSum, RelativeError, Ranks},
    "spatial-svd": {Energy, SingularSum, RelativeError, VBMF, Ranks},
    "spatial-svd-reversed": {Energy, SingularSum, RelativeError, VBMF, Ranks},
    "channel-svd": {Energy, SingularSum, RelativeError, VBMF, Ranks},
    "input-svd": {Energy, SingularSum, RelativeError, VBMF, Ranks},
    "depthwise-separable": {Energy, RelativeError, Ranks},
}


@pytest.mark.parametrize("method", DECOMPOSITIONS)
@pytest.mark.parametrize("rule", [Energy(0.6), SingularSum(0.6), RelativeError(0.5), VBMF()])
def test_rules_are_understood_or_refused_in_one_line(method: str, rule: Energy) -> None:
    conv = nn.Conv2d(8, 12, 3)
    if type(rule) in UNDERSTOOD[method]:
        error = factorize_layer("conv", conv, method, rule).relative_error
        assert error <= 0.5 or not isinstance(rule, RelativeError)
        return
    with pytest.raises(TensorpressError) as caught:
        factorize(conv, method=method, rank=rule)
    message = str(caught.value)
    assert "\n" not in message
    assert f"{method} does not understand {rule!r}: give one of Energy" in message
    assert "Ranks" in message


WRONG = {
    "ttpwt-reversed": ((1, 2), "order 4 takes 3"),
    "pointwise-spatial": ((1, 2, 3), "order 3 takes 2"),
    "pointwise-spatial-reversed": ((1,), "order 3 takes 2"),
    "spatial-pointwise": ((1, 2, 3), "order 3 takes 2"),
    "spatial-pointwise-reversed": ((1,), "order 3 takes 2"),
    "tucker2": ((1, 2, 3), "3 ranks"),
    "cp": ((1, 2), "takes 1"),
    "kronecker": ((4,), "takes 3 ranks"),
    "tt": ((1, 2), "2 ranks"),
    "tensor-ring": ((1, 2, 3), "takes 4"),
    "hierarchical-tucker": ((1, 2, 3), "order 4 takes 5"),
    "spatial-svd": ((1, 2), "2 ranks"),
    "spatial-svd-reversed": ((1, 2), "2 ranks"),
    "channel-svd": ((1, 2, 3), "3 ranks"),
    "input-svd": ((1, 2), "2 ranks"),
    "depthwise-separable": ((1, 2), "takes 1"),
}


@pytest.mark.parametrize("method", RIVALS)
def test_the_wrong_number_of_ranks(method: str) -> None:
    ranks, words = WRONG[method]
    with pytest.raises(TensorpressError, match=rf"'Conv2d'.*{words}"):
        factorize(nn.Conv2d(8, 12, 3), method=method, rank=Ranks(*ranks))
    with pytest.raises(TensorpressError, match="takes"):
        DECOMPOSITIONS[method].build(nn.Conv2d(8, 12, 3), (1,) * 9)


@pytest.mark.parametrize(
    ("ranks", "words"),
    [((2, 5, 4), "5 does not divide the 12 output"), ((2, 4, 3), "3 does not divide the 8 input")],
)
def test_kronecker_factors_divide_the_channels(ranks: tuple[int, ...], words: str) -> None:
    with pytest.raises(TensorpressError, match=words):
        factorize(nn.Conv2d(8, 12, 3), method="kronecker", rank=Ranks(*ranks))


@pytest.mark.parametrize("method", RIVALS)
@pytest.mark.parametrize("groups", [1, 2])
def test_balance_keeps_the_function_and_lessens_the_squares(method: str, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 8, 3, groups=groups).double()
    inputs = torch.randn(2, 8, 7, 7).double()
    one, two = (
        factorize(conv, method=method, rank=rule_for(method, 0.7), balance=balance)
        for balance in (False, True)
    )
    assert relative(call(one, inputs), call(two, inputs)) < 1e-10
    squares = [
        sum(float(layer.weight.detach().square().sum()) for layer in plain(chain))  # type: ignore[union-attr, operator, misc]
        for chain in (one, two)
    ]
    assert squares[1] < squares[0]


@pytest.mark.parametrize("method", RIVALS)
@pytest.mark.parametrize("groups", [1, 2])
def test_kernels_of_zeros(method: str, groups: int) -> None:
    conv, inputs = nn.Conv2d(4, 6, 3, groups=groups), torch.randn(1, 4, 5, 5)
    nn.init.zeros_(conv.weight)
    for balance in (False, True):
        chain = factorize(conv, method=method, rank=rule_for(method, 0.9), balance=balance)
        assert torch.equal(call(chain, inputs), call(conv, inputs))
    fit = factorize_layer("conv", conv, method, rule_for(method, 0.9))
    assert (fit.kept_energy, fit.relative_error) == (1.0, 0.0)


@pytest.mark.parametrize("method", RIVALS)
def test_nan_is_refused_by_name(method: str) -> None:
    conv = nn.Conv2d(4, 6, 3)
    with torch.no_grad():
        conv.weight[0, 0, 0, 0] = math.nan
    with pytest.raises(TensorpressError, match=r"'conv'.*NaN or inf"):
        factorize_layer("conv", conv, method, Energy(0.9))


@pytest.mark.parametrize("method", RIVALS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(method: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    conv, inputs = nn.Conv2d(8, 12, 3), torch.randn(2, 8, 9, 9)
    chain = factorize(copy.deepcopy(conv).to(dtype), method=method, rank=Energy(1.0))
    assert {parameter.dtype for parameter in chain.parameters()} == {dtype}
    assert relative(call(conv, inputs), call(chain.float(), inputs)) < 0.02


@pytest.mark.parametrize("method", RIVALS)
def test_more_energy_takes_more_parameters_and_errs_less(method: str) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 6, 3)

    def parameters(fit: Factorization) -> int:
        return sum(p.numel() for p in fit.to_module(conv).parameters())

    fit = prepare_layer("conv", conv, method)
    fits = [fit(Energy(tau)) for tau in (0.2, 0.5, 0.9)]
    for less, more in pairwise(fits):
        assert less.relative_error > more.relative_error
        assert less.kept_energy < more.kept_energy
        assert parameters(less) < parameters(more)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 2)])
def test_without_the_shift_the_inner_ranks_are_bounded_by_the_area(kernel: tuple[int, int]) -> None:
    """Remark 1 of the TTPWT paper: R2 <= D1 D2 and R3 <= D2, however many channels there are."""
    conv = nn.Conv2d(32, 48, kernel)
    area, last = kernel[0] * kernel[1], kernel[1]
    assert factorize(conv, method="tt", rank=Energy(1.0)).ranks == (48, area, last)
    assert factorize(conv, rank=Energy(1.0)).ranks[1:] == (min(32 * kernel[0], last * 48), 48)


@pytest.mark.parametrize("method", RIVALS)
def test_gradients_reach_every_factor(method: str) -> None:
    chain = factorize(nn.Conv2d(8, 12, 3, padding=1), method=method, rank=rule_for(method, 0.6))
    chain(torch.randn(2, 8, 6, 6)).square().sum().backward()
    for parameter in chain.parameters():
        assert parameter.grad is not None
        assert parameter.grad.norm() > 0
