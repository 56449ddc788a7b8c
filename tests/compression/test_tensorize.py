"""Networks of tensorized layers: budgets, the account, files, plans, and the rows of Table 2."""

from pathlib import Path

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.layers.tensorized import near_equal_factors

IMAGE = torch.zeros(1, 3, 10, 10)


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, groups=2),
        nn.Conv2d(32, 24, (3, 1), padding="same", padding_mode="reflect"),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    ).eval()


@pytest.mark.parametrize("method", ["tt-conv", "tt-conv-naive"])
def test_the_account_is_counted_and_the_network_stays(method: str) -> None:
    original = net()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    torch.manual_seed(1)
    result = tp.tensorize(original, IMAGE, method=method, rank=6)
    counted = tp.count(result.model, IMAGE)
    assert (counted.params, counted.macs) == (result.params_after, result.macs_after)
    assert result.params_after == sum(p.numel() for p in result.model.parameters())
    decisions = {row.name: row.decision for row in result.layers}
    assert decisions["2"] == decisions["6"] == f"{method} (random start)"
    assert decisions["0"] == "kept: first convolution (skip_first)"
    assert decisions["5"] == "kept: it has 2 groups"
    assert decisions["9"].startswith("kept: linear layer")
    rows = {row.name: row for row in result.layers}
    assert rows["2"].ranks == (6, 6, 6)
    assert rows["6"].ranks == (3, 6, 6)
    assert rows["2"].relative_error is None
    for name, value in original.state_dict().items():
        assert torch.equal(value, before[name])
    made = result.model[2]
    assert isinstance(made, tp.TTConv2d)
    assert made.in_factors == near_equal_factors(16, 3)
    assert made.spatial.stride == (2, 2)
    again = tp.compress(result.model, IMAGE, rank=tp.Energy(1.0), include=["2"])
    row = next(row for row in again.layers if row.name == "2")
    assert row.decision.startswith("kept: would not get smaller")
    again = tp.compress(result.model, IMAGE, rank=tp.Ranks(2, 3, 2), include=["2"])
    assert f"ttpwt, was {method}" in [row.decision for row in again.layers]


def test_budgets_are_met_by_the_largest_rank() -> None:
    for budget in (tp.Budget(params=1.5), tp.Budget(params=1.5, macs=1.1)):
        result = tp.tensorize(net(), IMAGE, budget=budget)
        assert budget.is_met(result.pcr, result.fcr)
        rank = max(row.ranks[-1] for row in result.layers if row.ranks)
        more = tp.tensorize(net(), IMAGE, rank=rank + 1)
        assert not budget.is_met(more.pcr, more.fcr)


def test_ranks_by_layer_and_over_their_bounds() -> None:
    rank = {"2": (12, 5, 4), "6": 99}
    rows = {row.name: row for row in tp.tensorize(net(), IMAGE, rank=rank).layers}
    assert rows["2"].ranks == (12, 5, 4)
    assert rows["6"].decision.startswith("kept: would not get smaller")


@pytest.mark.parametrize("method", ["tt-conv", "tt-conv-naive"])
def test_a_file_gives_the_same_network_back(method: str, tmp_path: Path) -> None:
    result = tp.tensorize(net(), IMAGE, method=method, rank=5)
    tp.save(result, tmp_path / "net.tp")
    images = torch.randn(3, 3, 10, 10)
    other = tp.tensorize(net(1), IMAGE, method=method, rank=5).model
    for into in (net(2), other):
        loaded = tp.load(tmp_path / "net.tp", into=into).eval()
        assert str(loaded) == str(result.model)
        with torch.no_grad():
            assert torch.equal(loaded(images), result.model(images))
    wrong = tp.tensorize(net(1), IMAGE, method=method, rank=4).model
    with pytest.raises(tp.TensorpressError, match="'2' is tensorized with other factors or ranks"):
        tp.load(tmp_path / "net.tp", into=wrong)


def test_it_learns_and_is_planned() -> None:
    torch.manual_seed(0)
    result = tp.tensorize(net(), IMAGE, rank=5)
    model, images = result.model.train(), torch.randn(16, 3, 10, 10)
    labels = torch.arange(16) % 5
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(40):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.2 * losses[0]
    model.eval()
    run = tp.plan(model, images, threads=1)
    with torch.no_grad():
        torch.testing.assert_close(run(images), model(images), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("row", "pcr"),
    [
        ("tt_conv_1", 2.02),
        ("tt_conv_2", 2.53),
        ("tt_conv_3", 3.22),
        ("tt_conv_4", 4.02),
        ("tt_conv_1_naive", 2.02),
        ("tt_conv_2_naive", 2.90),
    ],
)
def test_rows_of_table_2(row: str, pcr: float) -> None:
    dense, tensorized = (
        sum(p.numel() for p in tp.networks.build(name).parameters())
        for name in ("tt_conv_cnn", row)
    )
    assert round(dense / tensorized, 2) == pcr


def test_the_published_ranks_give_the_printed_ratio_where_layers_have_no_biases() -> None:
    def bare(name: str) -> int:
        net = tp.networks.build(name)
        return sum(
            p.numel() for n, p in net.named_parameters() if not n.endswith("bias") or "bn" in n
        )

    assert round(bare("tt_conv_cnn") / bare("tt_conv_3"), 2) == 3.23


@pytest.mark.parametrize("row", ["tt_conv_4", "tt_conv_2_naive"])
def test_a_new_network_neither_fades_nor_explodes(row: str) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        assert 1e-2 < tp.networks.build(row)(torch.randn(4, 3, 32, 32)).std() < 1e2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "tt", "rank": 4}, "no tensorized layer 'tt'; there is: tt-conv, tt-conv-naive"),
        ({}, "either rank=.* or budget="),
        ({"rank": 4, "budget": tp.Budget(params=2)}, "either rank=.* or budget="),
        ({"budget": tp.Budget(speedup=2)}, "not timed"),
        ({"budget": tp.Budget(params=99)}, "PCR 99 cannot be reached: with rank 1"),
        ({"rank": (4, 4)}, "layer '2': .*as many"),
        ({"rank": 0}, "Ranks.*0.*: every rank must be a whole number of at least 1"),
        ({"rank": 2.5}, "rank=2.5: give a whole number for all bonds"),
        ({"rank": {"9*": 3}}, "rank pattern '9\\*' fits only layers that stay"),
        ({"rank": 4, "include": ["nope"]}, "include 'nope' fits no layer"),
    ],
)
def test_mistakes_are_told_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(tp.TensorpressError, match=words) as caught:
        tp.tensorize(net(), IMAGE, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_unknown_row_and_hooks_are_told_in_one_line() -> None:
    with pytest.raises(tp.TensorpressError, match="no row 'tt_conv_9'; there is: tt_conv_1, "):
        tp.networks.tt_conv("tt_conv_9")
    hooked = net()
    hooked[2].register_forward_hook(lambda *_: None)
    with pytest.raises(tp.TensorpressError, match="'2' carries forward_hooks"):
        tp.tensorize(hooked, IMAGE, rank=4)
