"""A layer against its factors: exact at full rank, and below it what the kernel's train says."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from convs import (
    EXACT,
    PROPERTY,
    Case,
    call,
    cases,
    modes,
    relative,
    shifted,
    with_truncated_kernel,
)
from hypothesis import given
from hypothesis import strategies as st
from numpy_train import numpy_contract, numpy_truncated
from torch import Tensor, nn

from tensorpress import (
    Energy,
    Ranks,
    RelativeError,
    SingularSum,
    TensorpressError,
    factorize,
    methods,
)
from tensorpress.decompose import RankRule
from tensorpress.layers import Factorized, factorize_layer


def conv2d(*sizes: int, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Conv2d:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Conv2d(*sizes, dtype=dtype, **options)  # type: ignore[misc]


def images(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


@PROPERTY
@given(cases(), st.sampled_from([Energy(1.0), RelativeError(0.0), SingularSum(1.0)]))
def test_full_rank_is_exact(case: Case, rule: RankRule) -> None:
    conv, inputs = case.build()
    chain = factorize(conv, rank=rule)
    expected, outputs = call(conv, inputs), call(chain, inputs)
    assert outputs.shape == expected.shape
    assert outputs.dtype == expected.dtype
    assert relative(expected, outputs) < EXACT[case.dtype]


@PROPERTY
@given(cases([torch.float64]), st.data())
def test_truncated_factors_are_the_convolution_with_the_truncated_kernel(
    case: Case, data: st.DataObject
) -> None:
    conv, inputs = case.build()
    steps = len(modes(conv)) - 1
    asked = data.draw(st.lists(st.integers(1, 6), min_size=steps, max_size=steps))
    fit = factorize_layer("conv", conv, "ttpwt", Ranks(*asked))
    chain = fit.to_module(conv)
    dense = with_truncated_kernel(conv, chain.ranks)
    assert all(got <= wanted for got, wanted in zip(chain.ranks, asked, strict=True))
    assert fit.clamped == (chain.ranks != tuple(asked))
    assert relative(call(dense, inputs), call(chain, inputs)) < 1e-8
    error = relative(conv.weight.detach(), dense.weight.detach())
    assert fit.relative_error == pytest.approx(error, rel=2e-3, abs=1e-9)
    assert fit.kept_energy == pytest.approx(1 - error**2, abs=1e-9)


@PROPERTY
@given(cases([torch.float64]), st.sampled_from([0.3, 0.6, 0.9, 0.999]))
def test_groups_share_the_least_ranks_that_suit_each(case: Case, tau: float) -> None:
    conv, _ = case.build()
    ranks = factorize(conv, rank=Energy(tau)).ranks
    firsts = []
    for kernel in shifted(conv):
        unfolded = kernel.reshape(modes(conv)[0], -1)
        energies = np.linalg.svd(unfolded, compute_uv=False) ** 2
        shares = np.cumsum(energies) / energies.sum()
        firsts.append(next((j for j, share in enumerate(shares, 1) if share > tau), len(shares)))
    assert ranks[0] == max(firsts)


@PROPERTY
@given(cases())
def test_children_are_plain_and_as_many_as_the_modes(case: Case) -> None:
    conv, _ = case.build()
    chain = factorize(conv, rank=Energy(0.8))
    assert type(chain) is Factorized
    assert len(chain) == len(modes(conv)) == len(chain.ranks) + 1
    assert {type(sublayer) for sublayer in chain} == {type(conv)}
    assert {sublayer.groups for sublayer in chain} == {conv.groups}  # type: ignore[union-attr]
    assert [sublayer.bias for sublayer in list(chain)[:-1]] == [None] * (len(chain) - 1)
    if conv.bias is None:
        assert chain[-1].bias is None
    else:
        assert torch.equal(chain[-1].bias, conv.bias)  # type: ignore[arg-type]
        assert chain[-1].bias is not conv.bias


@pytest.mark.parametrize(
    ("layer", "names"),
    [
        (nn.Conv1d(4, 6, 3), ["pointwise_in", "temporal", "pointwise_out"]),
        (nn.Conv1d(4, 6, 1), ["pointwise_in", "pointwise_out"]),
        (nn.Conv2d(4, 6, 3), ["pointwise_in", "vertical", "horizontal", "pointwise_out"]),
        (nn.Conv2d(4, 6, (5, 1)), ["pointwise_in", "vertical", "pointwise_out"]),
        (nn.Conv2d(4, 6, (1, 5)), ["pointwise_in", "horizontal", "pointwise_out"]),
        (nn.Conv2d(4, 6, 1), ["pointwise_in", "pointwise_out"]),
        (
            nn.Conv3d(4, 6, (2, 3, 4)),
            ["pointwise_in", "depth", "vertical", "horizontal", "pointwise_out"],
        ),
        (nn.Conv3d(4, 6, (2, 1, 3)), ["pointwise_in", "depth", "horizontal", "pointwise_out"]),
        (nn.Conv3d(4, 6, 1), ["pointwise_in", "pointwise_out"]),
        (nn.Linear(4, 6), ["linear_in", "linear_out"]),
    ],
)
def test_sublayers_are_named_for_what_they_do(layer: nn.Module, names: list[str]) -> None:
    chain = factorize(layer, rank=Energy(1.0))
    assert [name for name, _ in chain.named_children()] == names
    assert {type(sublayer) for sublayer in chain} == {type(layer)}


def test_weights_are_the_cores_in_torch_s_order() -> None:
    """Eq. 9-12."""
    conv = conv2d(8, 16, (3, 5))
    chain = factorize(conv, rank=Ranks(4, 6, 5))
    assert [tuple(layer.weight.shape) for layer in chain] == [  # type: ignore[union-attr, arg-type]
        (4, 8, 1, 1),
        (6, 4, 3, 1),
        (5, 6, 1, 5),
        (16, 5, 1, 1),
    ]
    first, vertical, horizontal, last = (layer.weight.detach() for layer in chain)
    cores = [
        first[:, :, 0, 0].T[None],
        vertical[:, :, :, 0].permute(1, 2, 0),
        horizontal[:, :, 0, :].permute(1, 2, 0),
        last[:, :, 0, 0].T[..., None],
    ]
    # Singular vectors may turn their signs, so that the trains are compared, not the cores.
    train = torch.from_numpy(numpy_contract([core.numpy() for core in cores]))
    shifted = conv.weight.detach().permute(1, 2, 3, 0)
    expected = torch.from_numpy(numpy_truncated(shifted.numpy(), (4, 6, 5)))
    assert relative(expected, train) < 1e-10


def test_each_axis_takes_its_own_stride_padding_and_dilation() -> None:
    conv = conv2d(
        4, 6, (3, 5), stride=(2, 3), padding=(1, 4), dilation=(3, 2), padding_mode="circular"
    )
    first, vertical, horizontal, last = factorize(conv, rank=Energy(0.9))
    for plain in (first, last):
        assert (plain.kernel_size, plain.stride) == ((1, 1), (1, 1))
        assert (plain.padding, plain.dilation) == ((0, 0), (1, 1))
    assert (vertical.kernel_size, vertical.stride) == ((3, 1), (2, 1))
    assert (vertical.padding, vertical.dilation) == ((1, 0), (3, 1))
    assert (horizontal.kernel_size, horizontal.stride) == ((1, 5), (1, 3))
    assert (horizontal.padding, horizontal.dilation) == ((0, 4), (1, 2))
    assert vertical.padding_mode == horizontal.padding_mode == "circular"


def test_an_axis_of_kernel_one_gives_its_stride_and_padding_to_the_first() -> None:
    conv = conv2d(4, 6, (1, 3), stride=(2, 3), padding=(1, 2))
    first, horizontal, last = factorize(conv, rank=Energy(0.9))
    assert (first.stride, first.padding) == ((2, 1), (1, 0))
    assert (horizontal.stride, horizontal.padding) == ((1, 3), (0, 2))
    assert (last.stride, last.padding) == ((1, 1), (0, 0))


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 4, 5), (0, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", list(EXACT))
def test_linear_layers(shape: tuple[int, ...], bias: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    linear, inputs = nn.Linear(5, 7, bias=bias, dtype=dtype), torch.randn(shape, dtype=dtype)
    chain = factorize(linear, rank=Energy(1.0))
    assert {type(sublayer) for sublayer in chain} == {nn.Linear}
    assert call(chain, inputs).shape == call(linear, inputs).shape
    assert relative(call(linear, inputs), call(chain, inputs)) < EXACT[dtype]
    low = factorize(linear, rank=Ranks(2))
    assert [tuple(sublayer.weight.shape) for sublayer in low] == [(2, 5), (7, 2)]  # type: ignore[union-attr, arg-type]
    u, s, v = torch.linalg.svd(linear.weight.detach().double(), full_matrices=False)
    best = (u[:, :2] * s[:2]) @ v[:2]
    made = low[1].weight.detach() @ low[0].weight.detach()  # type: ignore[operator]
    assert relative(best, made) < EXACT[dtype]


@pytest.mark.parametrize(
    ("kernel", "values", "ranks"),
    [
        ((1, 1), (4, 9, 5), (4,)),
        ((1, 1), (9, 3, 5), (3,)),
        ((1, 1), (4,), (4,)),
        ((1, 3), (4, 3, 5), (3, 5)),
        ((1, 3), (3, 4, 5), (3, 5)),
        ((1, 3), (3, 5), (3, 5)),
        ((3, 1), (4, 5, 3), (4, 3)),
        ((3, 1), (4, 3, 5), (4, 3)),
        ((3, 3), (4, 6, 5), (4, 6, 5)),
    ],
)
def test_ranks_by_hand_where_some_axes_are_one(
    kernel: tuple[int, int], values: tuple[int, ...], ranks: tuple[int, ...]
) -> None:
    fit = factorize_layer("conv", conv2d(8, 8, kernel), "ttpwt", Ranks(*values))
    assert fit.ranks == ranks
    assert not fit.clamped


@pytest.mark.parametrize(
    ("values", "ranks", "clamped"),
    [
        ((99, 99, 99), (8, 24, 8), True),
        ((2, 99, 3), (2, 6, 3), True),
        ((8, 24, 8), (8, 24, 8), False),
    ],
)
def test_clamping_is_told(values: tuple[int, ...], ranks: tuple[int, ...], clamped: bool) -> None:
    fit = factorize_layer("conv", conv2d(8, 8, 3), "ttpwt", Ranks(*values))
    assert (fit.ranks, fit.clamped) == (ranks, clamped)


@pytest.mark.parametrize("values", [(1,), (1, 2), (1, 2, 3, 4)])
def test_ranks_by_hand_of_the_wrong_number(values: tuple[int, ...]) -> None:
    with pytest.raises(TensorpressError, match=rf"'Conv2d'.*{len(values)} ranks"):
        factorize(conv2d(4, 4, 3), rank=Ranks(*values))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("balance", [False, True])
def test_half_precision(dtype: torch.dtype, balance: bool) -> None:
    conv, inputs = conv2d(8, 12, 3, dtype=torch.float32), images(2, 8, 9, 9, dtype=torch.float32)
    chain = factorize(conv.to(dtype), rank=Energy(1.0), balance=balance)
    assert {parameter.dtype for parameter in chain.parameters()} == {dtype}
    outputs = call(chain, inputs.to(dtype))
    assert outputs.dtype == dtype
    tolerance = 0.005 if dtype == torch.float16 else 0.04
    assert relative(call(conv.float(), inputs), outputs) < tolerance


@pytest.mark.parametrize("groups", [1, 2])
def test_balance_changes_the_factors_and_not_the_function(groups: int) -> None:
    conv, inputs = conv2d(8, 8, 3, groups=groups), images(2, 8, 7, 7)
    plain = factorize(conv, rank=Energy(0.7))
    balanced = factorize(conv, rank=Energy(0.7), balance=True)
    assert relative(call(plain, inputs), call(balanced, inputs)) < 1e-12
    norms = [
        [float(sublayer.weight.detach().norm()) for sublayer in chain]  # type: ignore[union-attr, operator]
        for chain in (plain, balanced)
    ]
    assert sum(norm**2 for norm in norms[1]) < sum(norm**2 for norm in norms[0])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("weight", "bias"), [(True, True), (False, True), (True, False)])
def test_mode_and_requires_grad_are_kept(training: bool, weight: bool, bias: bool) -> None:
    conv = conv2d(4, 6, 3).train(training)
    conv.weight.requires_grad_(weight)
    conv.bias.requires_grad_(bias)  # type: ignore[union-attr]
    chain = factorize(conv, rank=Energy(0.8))
    assert {module.training for module in chain.modules()} == {training}
    for name, parameter in chain.named_parameters():
        assert parameter.requires_grad == (bias if name.endswith("bias") else weight)
        assert parameter.is_leaf


def test_the_layer_is_not_changed_and_shares_nothing() -> None:
    conv = conv2d(4, 6, 3)
    before = copy.deepcopy(conv.state_dict())
    chain = factorize(conv, rank=Energy(1.0), balance=True)
    with torch.no_grad():
        for parameter in chain.parameters():
            parameter.zero_()
    for name, value in conv.state_dict().items():
        assert torch.equal(value, before[name])


def test_the_default_dtype_and_autocast_leave_no_trace() -> None:
    conv, inputs = conv2d(4, 6, 3, dtype=torch.float32), images(1, 4, 6, 6, dtype=torch.float32)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            chain = factorize(conv, rank=Energy(1.0), balance=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {parameter.dtype for parameter in chain.parameters()} == {torch.float32}
    assert relative(call(conv, inputs), call(chain, inputs)) < 1e-5


def test_channels_last_weights() -> None:
    conv, inputs = conv2d(4, 6, 3), images(2, 4, 6, 6)
    last = copy.deepcopy(conv).to(memory_format=torch.channels_last)
    assert not last.weight.is_contiguous()
    chain = factorize(last, rank=Energy(1.0))
    assert relative(call(conv, inputs), call(chain, inputs)) < 1e-10


def test_gradients_reach_the_input_and_every_factor() -> None:
    conv, inputs = conv2d(4, 6, 3, padding=1, stride=2), images(2, 4, 6, 6)
    chain = factorize(conv, rank=Energy(1.0))
    grads = []
    for layer in (conv, chain):
        leaf = inputs.clone().requires_grad_()
        layer(leaf).square().sum().backward()
        grads.append(leaf.grad)
    assert relative(grads[0], grads[1]) < 1e-10  # type: ignore[arg-type]
    for parameter in chain.parameters():
        assert parameter.grad is not None
        assert parameter.grad.norm() > 0
    assert relative(conv.bias.grad, chain[-1].bias.grad) < 1e-10  # type: ignore[union-attr, arg-type]


def test_fine_tuning_a_truncated_chain_gets_it_closer() -> None:
    conv, inputs = conv2d(6, 6, 3, padding=1), images(8, 6, 6, 6)
    chain, target = factorize(conv, rank=Ranks(4, 8, 4)), call(conv, inputs)
    optimizer = torch.optim.Adam(chain.parameters(), lr=1e-2)
    before = relative(target, call(chain, inputs))
    for _ in range(30):
        optimizer.zero_grad()
        nn.functional.mse_loss(chain(inputs), target).backward()
        optimizer.step()
    assert relative(target, call(chain, inputs)) < before


CHAINS: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "Conv1d": lambda: (nn.Conv1d(4, 6, 3, stride=2, padding=1), torch.randn(2, 4, 9)),
    "Conv2d": lambda: (
        nn.Conv2d(4, 6, 3, stride=(2, 1), padding=(1, 2), groups=2, padding_mode="reflect"),
        torch.randn(2, 4, 9, 8),
    ),
    "same": lambda: (nn.Conv2d(4, 6, (4, 3), padding="same"), torch.randn(2, 4, 9, 8)),
    "Conv3d": lambda: (nn.Conv3d(4, 6, (1, 2, 3), dilation=2), torch.randn(1, 4, 5, 6, 7)),
    "ConvTranspose2d": lambda: (
        nn.ConvTranspose2d(4, 6, 4, stride=2, padding=1, output_padding=(1, 0), groups=2),
        torch.randn(2, 4, 5, 6),
    ),
    "Linear": lambda: (nn.Linear(5, 7), torch.randn(3, 5)),
}


@pytest.fixture(params=list(CHAINS))
def chain_and_inputs(request: pytest.FixtureRequest) -> tuple[Factorized, Tensor]:
    torch.manual_seed(0)
    layer, inputs = CHAINS[request.param]()
    return factorize(layer, rank=Energy(0.9)), inputs


def test_copies_and_pickles_are_whole(chain_and_inputs: tuple[Factorized, Tensor]) -> None:
    chain, inputs = chain_and_inputs
    for twin in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):
        assert type(twin) is Factorized
        assert (twin.method, twin.ranks) == (chain.method, chain.ranks)
        assert repr(twin) == repr(chain)
        assert torch.equal(call(twin, inputs), call(chain, inputs))
        assert all(a is not b for a, b in zip(twin.parameters(), chain.parameters(), strict=True))


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_torch_compile_in_one_graph(
    chain_and_inputs: tuple[Factorized, Tensor], backend: str
) -> None:
    chain, inputs = chain_and_inputs
    torch.compiler.reset()
    compiled = torch.compile(chain, fullgraph=True, backend=backend)
    assert relative(call(chain, inputs), call(compiled, inputs)) < 1e-5


def test_torch_export(chain_and_inputs: tuple[Factorized, Tensor]) -> None:
    chain, inputs = chain_and_inputs
    program = torch.export.export(chain.eval(), (inputs,))
    assert relative(call(chain, inputs), call(program.module(), inputs)) < 1e-5


def test_a_slice_of_a_chain_prints() -> None:
    chain = factorize(conv2d(4, 6, 3), rank=Energy(0.9))
    assert "pointwise_in" in repr(chain[:2])
    assert "ttpwt" in repr(chain)
    assert str(chain.ranks) in repr(chain)


@pytest.mark.parametrize("method", ["tucker", "", "TTPWT"])
def test_unknown_methods(method: Any) -> None:
    with pytest.raises(
        TensorpressError, match=r"no method .*there is: channel-svd, cp, .*ttpwt"
    ) as caught:
        factorize(conv2d(4, 6, 3), method=method, rank=Energy(0.9))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [None, 3, methods.TTPWT])
def test_methods_that_are_neither_names_nor_objects(method: Any) -> None:
    with pytest.raises(TensorpressError, match=r"give a name, such as 'ttpwt', or an object"):
        factorize(conv2d(4, 6, 3), method=method, rank=Energy(0.9))


@pytest.mark.parametrize("rank", [0.6, None, (4, 4, 4), "energy"])
def test_what_is_no_rank_rule(rank: Any) -> None:
    with pytest.raises(TensorpressError, match="no rank rule"):
        factorize(conv2d(4, 6, 3), rank=rank)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("groups", [1, 2])
def test_a_kernel_with_nan_or_inf_is_refused_by_name(value: float, groups: int) -> None:
    conv = conv2d(4, 6, 3, groups=groups)
    with torch.no_grad():
        conv.weight[-1, -1, -1, -1] = value
    with pytest.raises(TensorpressError, match=r"'layer1\.conv'.*NaN or inf"):
        factorize_layer("layer1.conv", conv, "ttpwt", Energy(0.9))


@pytest.mark.parametrize("groups", [1, 2])
def test_a_kernel_of_zeros_gives_its_bias(groups: int) -> None:
    conv, inputs = conv2d(4, 6, 3, groups=groups), images(1, 4, 5, 5)
    with torch.no_grad():
        conv.weight.zero_()
    fit = factorize_layer("conv", conv, "ttpwt", Energy(0.9))
    assert (fit.ranks, fit.kept_energy, fit.relative_error) == ((1, 1, 1), 1.0, 0.0)
    assert torch.equal(call(fit.to_module(conv), inputs), call(conv, inputs))


def test_one_group_of_zeros_costs_nothing() -> None:
    conv = conv2d(8, 8, 3, groups=2)
    alone = copy.deepcopy(conv)
    with torch.no_grad():
        conv.weight[4:] = 0.0
        alone.weight[4:] = alone.weight[:4]
    assert factorize(conv, rank=Energy(0.7)).ranks == factorize(alone, rank=Energy(0.7)).ranks


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_layers_stay_there() -> None:
    conv, inputs = conv2d(8, 12, 3, padding=1).cuda(), images(2, 8, 9, 9).cuda()
    chain = factorize(conv, rank=Energy(1.0))
    assert {parameter.device.type for parameter in chain.parameters()} == {"cuda"}
    assert relative(call(conv, inputs), call(chain, inputs)) < 1e-10


@pytest.mark.parametrize("channels_last", [True, False])
def test_the_memory_format_is_the_layers(channels_last: bool) -> None:
    conv = nn.Conv2d(8, 12, 3)
    if channels_last:
        conv.to(memory_format=torch.channels_last)
    chain = factorize(conv, rank=Ranks(4, 5, 6))
    assert chain[1].weight.is_contiguous() is not channels_last
    assert chain[1].weight.is_contiguous(memory_format=torch.channels_last) is channels_last


@pytest.mark.parametrize("method", ["ttpwt", "tucker2", "cp", "tt", "spatial-svd"])
@pytest.mark.parametrize("more", [(0, 0), (1, 0), (1, 2)])
def test_a_transposed_chain_brings_its_output_to_the_size_asked_for(
    method: str, more: tuple[int, int]
) -> None:
    layer = nn.ConvTranspose2d(4, 6, 3, stride=(2, 3), padding=1, dtype=torch.float64)
    inputs = images(2, 4, 5, 6)
    size = [a + b for a, b in zip(layer(inputs).shape[2:], more, strict=True)]
    chain = factorize(layer, method=method, rank=Ranks(40) if method == "cp" else Energy(1.0))
    for wanted in (size, [2, 6, *size]):
        expected = layer(inputs, output_size=wanted).detach()
        assert relative(expected, chain(inputs, output_size=wanted).detach()) < 1e-9
