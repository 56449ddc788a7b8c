"""Every way to execute a chain against the layer that was factorized."""

import itertools
import math
from typing import Any

import pytest
import torch
from convs import PROPERTY, Case, Conv, call, cases, modes, relative
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import tensorpress as tp
from tensorpress import Energy, Ranks, factorize
from tensorpress.deploy.execution import (
    Execution,
    executions_of,
    realise,
    without_dominated,
    work_of,
)
from tensorpress.layers import Factorized, can_merge, merge

WARNING = "ignore:Using padding='same' with even kernel lengths"
pytestmark = pytest.mark.filterwarnings(WARNING)
MULTIPLES = (1, 16)


def executed(chain: Factorized, execution: Execution) -> nn.Sequential:
    return nn.Sequential(*realise(list(chain), execution))


def seeded(layer: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, generator=generator)
    return layer.requires_grad_(False)


@settings(PROPERTY, max_examples=60)
@given(cases([torch.float64]))
def test_every_candidate_at_full_rank_is_the_layer(case: Case) -> None:
    conv, inputs = case.build()
    chain = factorize(conv, rank=Energy(1.0))
    expected = call(conv, inputs)
    executions = executions_of(list(chain), MULTIPLES)
    assert len({c for c in executions if c.multiple == 1}) == 2 ** (len(chain) - 1)
    for execution in executions:
        output = call(executed(chain, execution), inputs)
        assert output.shape == expected.shape
        assert relative(expected, output) < 1e-10, execution


@PROPERTY
@given(cases([torch.float32]), st.data())
def test_every_candidate_at_low_rank_is_the_chain(case: Case, data: st.DataObject) -> None:
    conv, inputs = case.build()
    steps = len(modes(conv)) - 1
    ranks = data.draw(st.lists(st.integers(1, 4), min_size=steps, max_size=steps))
    chain = factorize(conv, rank=Ranks(*ranks))
    layers = [in_double(layer) for layer in chain]
    expected = call(nn.Sequential(*layers), inputs.double())
    for execution in executions_of(list(chain), MULTIPLES):
        output = call(executed(chain, execution), inputs)
        assert output.dtype == torch.float32
        assert relative(expected, output) < 1e-5, execution


def in_double(layer: Any) -> nn.Module:
    names = ["kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    names += ["output_padding"] * layer.transposed
    options = {name: getattr(layer, name) for name in names}
    double = type(layer)(
        layer.in_channels, layer.out_channels, bias=layer.bias is not None, **options
    ).double()
    double.load_state_dict(layer.state_dict())
    return double  # type: ignore[no-any-return]


@settings(PROPERTY, max_examples=30)
@given(cases([torch.float64]))
def test_the_work_of_a_candidate_is_what_torch_counts_in_its_layers(case: Case) -> None:
    conv, inputs = case.build()
    chain = factorize(conv, rank=Energy(0.9))
    for execution in executions_of(list(chain), MULTIPLES):
        layers = realise(list(chain), execution)
        shapes, seen = [inputs.shape], inputs
        for layer in layers:
            seen = call(layer, seen)
            shapes.append(seen.shape)
        weights = [layer.weight.numel() for layer in layers]  # type: ignore[union-attr, operator]
        moved = sum(map(math.prod, shapes[:-1])) + sum(map(math.prod, shapes[1:])) + sum(weights)
        cost = tp.count(nn.Sequential(*layers), inputs)
        assert work_of(list(chain), execution, inputs.shape) == (cost.macs, moved), execution


def test_a_chain_of_four_has_eight_candidates_from_dense_to_chain() -> None:
    chain = list(factorize(nn.Conv2d(8, 12, 3), rank=Ranks(5, 6, 7)))
    found = executions_of(chain)
    assert list(map(str, found)) == [
        *("[1234]", "1 [234]", "[12] [34]", "[123] 4"),
        *("1 2 [34]", "1 [23] 4", "[12] 3 4", "1 2 3 4"),
    ]
    assert [c.is_dense for c in found] == [True] + 7 * [False]
    assert realise(chain, found[-1]) == chain
    assert executions_of(chain, (1, 16))[-1] == Execution((1, 1, 1, 1), 16)


def test_work_by_hand() -> None:
    chain = list(factorize(nn.Conv2d(8, 12, 3, stride=(2, 1), padding=1), rank=Ranks(5, 6, 7)))
    shape = (2, 8, 9, 10)
    map_in, map_between, map_out = 2 * 9 * 10, 2 * 5 * 10, 2 * 5 * 10
    dense = (12 * 8 * 9 * map_out, 8 * map_in + 12 * 8 * 9 + 12 * map_out)
    assert work_of(chain, Execution((4,)), shape) == dense
    macs = 5 * 8 * map_in + 6 * 5 * 3 * map_between + 7 * 6 * 3 * map_out + 12 * 7 * map_out
    moved = (
        8 * map_in + 40 + 5 * map_in + (5 * map_in + 90 + 6 * map_between)
        + (6 * map_between + 126 + 7 * map_out) + (7 * map_out + 84 + 12 * map_out)
    )  # fmt: skip
    assert work_of(chain, Execution((1, 1, 1, 1)), shape) == (macs, moved)
    filled = 16 * 8 * map_in + 16 * 16 * 9 * map_out + 12 * 16 * map_out
    assert work_of(chain, Execution((1, 2, 1), 16), shape)[0] == filled


def test_only_what_another_clearly_beats_is_left_out() -> None:

    chain = list(factorize(nn.Conv2d(64, 64, 3, padding=1), rank=Ranks(8, 8, 8)))
    executions, shape = executions_of(chain), (1, 64, 8, 8)
    kept = without_dominated(chain, executions, shape)
    work = {c: work_of(chain, c, shape) for c in executions}
    assert {executions[0], executions[-1]} <= set(kept)
    assert len(kept) < len(executions)
    for execution in set(executions) - set(kept):
        macs, moved = work[execution]
        assert any(m * 1.1 < macs and b * 1.1 < moved for m, b in work.values())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 6)])
def test_linear_chains(bias: bool, shape: tuple[int, ...]) -> None:
    layer = nn.Linear(6, 9, bias=bias, dtype=torch.float64)
    chain = factorize(layer, rank=Energy(1.0))
    inputs = torch.randn(shape, dtype=torch.float64)
    executions = executions_of(list(chain), MULTIPLES)
    assert list(map(str, executions)) == ["[12]", "1 2", "1 2 x16"]
    for execution in executions:
        made = executed(chain, execution)
        assert relative(call(layer, inputs), call(made, inputs)) < 1e-12
        macs, _ = work_of(list(chain), execution, shape)
        assert macs == tp.count(made, inputs).macs


@pytest.mark.parametrize("mode", ["zeros", "circular"])
@pytest.mark.parametrize("groups", [1, 2])
def test_depthwise_and_pointwise_sublayers(groups: int, mode: Any) -> None:
    """As CP has them: pointwise, depthwise along either axis, pointwise."""
    options: dict[str, Any] = {"groups": 6, "bias": False, "padding_mode": mode}
    chain = [
        nn.Conv2d(4, 6, 1, bias=False, groups=groups),
        nn.Conv2d(6, 6, (3, 1), padding=(1, 0), stride=(2, 1), **options),
        nn.Conv2d(6, 6, (1, 4), padding=(0, 2), dilation=(1, 2), **options),
        nn.Conv2d(6, 8, 1, groups=groups),
    ]
    seeded(nn.Sequential(*chain).double())
    inputs = torch.randn(2, 4, 9, 12, dtype=torch.float64)
    expected = call(nn.Sequential(*chain), inputs)
    executions = executions_of(chain, MULTIPLES)
    assert len(executions) == 8  # none filled up: groups would come apart
    for execution in executions:
        made = nn.Sequential(*realise(chain, execution))
        assert relative(expected, call(made, inputs)) < 1e-12
        assert work_of(chain, execution, inputs.shape)[0] == tp.count(made, inputs).macs
    both = realise(chain, Execution((1, 2, 1)))[1]
    assert isinstance(both, nn.Conv2d)
    assert (both.groups, both.kernel_size) == (6, (3, 4))


def conv(kernel: Any = 1, **options: Any) -> nn.Conv2d:
    options.setdefault("bias", False)
    return nn.Conv2d(4, 4, kernel, **options)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (conv(3), conv(3)),
        (conv((3, 1)), conv((2, 1))),
        (conv((3, 1)), conv(1, stride=(2, 1))),
        (conv(1, padding=(1, 0)), conv((3, 1))),
        (conv(bias=True), conv()),
        (
            conv((3, 1), padding=(1, 0), padding_mode="circular"),
            conv((1, 3), padding=(0, 1)),
        ),
        (conv((3, 1), padding="same"), conv((1, 3))),
        (conv((3, 1)), conv((1, 3), padding="same")),
        (conv((3, 1), padding="same"), conv((1, 5), padding=(0, 1))),
        (conv((3, 1), padding="same"), conv(1, stride=(1, 2))),
        (conv(), nn.Linear(4, 4)),
        (conv(), nn.Conv1d(4, 4, 1)),
        (conv(), nn.ReLU()),
        (nn.Linear(4, 4), nn.Linear(4, 4)),
    ],
    ids=str,
)
def test_what_cannot_be_one_layer(first: nn.Module, second: nn.Module) -> None:
    assert not can_merge([first, second])
    stays = Execution((1, 1))
    found = executions_of([first, second])
    assert found == [stays]
    assert realise([first, second], stays) == [first, second]


ONES = list(
    itertools.product(
        [{"padding": "same"}, {"padding": "valid"}, {"padding": (1, 0)}, {"stride": (2, 1)}],
        [{"padding": "same"}, {"padding": "valid"}, {"padding": (0, 2)}, {"stride": (1, 2)}],
    )
)


@pytest.mark.parametrize(("first", "second"), ONES, ids=str)
def test_padding_of_different_kinds_is_merged_right_or_not_at_all(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    vertical, horizontal = conv((4, 1), **first), conv((1, 3), **second)
    seeded(nn.Sequential(vertical, horizontal).double())
    same = [options.get("padding") == "same" for options in (first, second)]
    assert can_merge([vertical, horizontal]) == (same[0] == same[1])
    if same[0] == same[1]:
        inputs = torch.randn(2, 4, 9, 9, dtype=torch.float64)
        expected = call(horizontal, call(vertical, inputs))
        found = call(merge([vertical, horizontal]), inputs)
        assert found.shape == expected.shape
        assert relative(expected, found) < 1e-12


def test_an_unknown_sublayer_leaves_the_chain_as_it_is() -> None:
    chain = [nn.Conv2d(4, 4, 1, bias=False), nn.Flatten(), nn.Linear(4, 4)]
    assert executions_of(chain, MULTIPLES) == [Execution((1, 1, 1))]
    assert realise(chain, Execution((1, 1, 1))) == chain


def test_merging_changes_neither_the_chain_nor_its_dtype() -> None:
    layer: Conv = nn.Conv2d(4, 6, 3, dtype=torch.bfloat16)
    chain = factorize(layer, rank=Ranks(2, 2, 2))
    before: list[Tensor] = [value.clone() for value in chain.state_dict().values()]
    dense = merge(list(chain))
    assert {p.dtype for p in dense.parameters()} == {torch.bfloat16}
    assert not any(p.requires_grad for p in dense.parameters())
    after = chain.state_dict().values()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
