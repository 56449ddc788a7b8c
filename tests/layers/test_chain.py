"""Costs against torch's own counter, and chains built without weights."""

import pytest
import torch
from convs import PROPERTY, Case, call, cases, modes
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tensorpress import Energy, Ranks, TensorpressError, factorize
from tensorpress.layers import DECOMPOSITIONS
from tensorpress.layers.methods.ttpwt import TTPWT

TT = TTPWT()


def counted(module: nn.Module, *inputs: Tensor) -> tuple[int, int]:
    """Parameters, and half of what torch's flop counter says."""
    with FlopCounterMode(display=False) as counter:
        for each in inputs:
            call(module, each)
    params = sum(parameter.numel() for parameter in module.parameters())
    assert counter.get_total_flops() % 2 == 0
    return params, counter.get_total_flops() // 2


@PROPERTY
@given(cases([torch.float32]), st.data())
def test_the_cost_is_torch_s_count(case: Case, data: st.DataObject) -> None:
    conv, inputs = case.build()
    steps = len(modes(conv)) - 1
    rule = Ranks(*data.draw(st.lists(st.integers(1, 9), min_size=steps, max_size=steps)))
    chain = factorize(conv, rank=rule)
    shapes = [tuple(inputs.shape)]
    assert TT.cost(conv, chain.ranks, shapes) == counted(chain, inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 5), (1, 5)])
def test_the_cost_of_linear_layers(bias: bool, shape: tuple[int, ...]) -> None:
    linear, inputs = nn.Linear(5, 7, bias=bias), torch.randn(shape)
    chain = factorize(linear, rank=Ranks(3))
    assert TT.cost(linear, (3,), [shape]) == counted(chain, inputs)


def test_several_calls_add_up() -> None:
    conv = nn.Conv2d(4, 6, 3, padding=1)
    chain = factorize(conv, rank=Energy(0.8))
    inputs = [torch.randn(2, 4, 8, 8), torch.randn(1, 4, 5, 6), torch.randn(4, 7, 9)]
    shapes = [tuple(each.shape) for each in inputs]
    assert TT.cost(conv, chain.ranks, shapes) == counted(chain, *inputs)
    assert TT.cost(conv, chain.ranks, [])[1] == 0


def test_the_formula_of_the_paper_written_out() -> None:
    """Section 3.4, each term with the map that its sublayer writes."""
    conv = nn.Conv2d(64, 128, (3, 5), stride=(2, 3), padding=(1, 2), bias=False)
    (r1, r2, r3), (h, w), (h2, w2) = (20, 30, 40), (32, 33), (16, 11)
    params = 64 * r1 + r1 * 3 * r2 + r2 * 5 * r3 + r3 * 128
    macs = 64 * r1 * h * w + r1 * 3 * r2 * h2 * w + r2 * 5 * r3 * h2 * w2 + r3 * 128 * h2 * w2
    assert TT.cost(conv, (r1, r2, r3), [(1, 64, h, w)]) == (params, macs)
    assert TT.cost(conv, (r1, r2, r3), [(8, 64, h, w)]) == (params, 8 * macs)


@pytest.mark.parametrize("ranks", [(2,), (2, 2), (2, 2, 2, 2)])
def test_a_chain_takes_one_rank_a_bond(ranks: tuple[int, ...]) -> None:
    conv = nn.Conv2d(4, 6, 3)
    with pytest.raises(TensorpressError, match="ttpwt takes 3 ranks"):
        TT.cost(conv, ranks, [(1, 4, 8, 8)])
    with pytest.raises(TensorpressError, match="ttpwt takes 3 ranks"):
        TT.build(conv, ranks)


@PROPERTY
@given(cases([torch.float64]))
def test_the_plan_is_the_shifted_kernel(case: Case) -> None:
    conv, _ = case.build()
    links = TT.links(conv)
    assert [link.mode for link in links] == modes(conv)
    assert links[0].axes == links[-1].axes == ()
    assert [conv.kernel_size[axis] for link in links[1:-1] for axis in link.axes] == modes(conv)[
        1:-1
    ]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(6, 4, 3, padding=2, padding_mode="circular"),
        nn.Conv2d(6, 4, (3, 2), stride=(2, 1), groups=2, bias=False),
        nn.Conv3d(6, 4, (3, 1, 2), dilation=2),
        nn.Linear(6, 4),
    ],
)
@pytest.mark.parametrize("device", [None, "cpu", "meta"])
def test_an_empty_chain_takes_the_weights_of_a_made_one(
    layer: nn.Conv2d, device: str | None
) -> None:
    made = factorize(layer, rank=Energy(0.8))
    empty = DECOMPOSITIONS[made.method].build(layer, made.ranks, device=device)
    assert {parameter.device.type for parameter in empty.parameters()} == {device or "cpu"}
    assert repr(empty) == repr(made)
    empty.load_state_dict(made.state_dict(), assign=True)
    for name, value in empty.state_dict().items():
        assert torch.equal(value, made.state_dict()[name])
