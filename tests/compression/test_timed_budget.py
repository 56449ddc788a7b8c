"""Budgets of time and rounded ranks, through ``compress``; times themselves are made up."""

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.compression.options.least_loss import Option, choose_least_loss
from tensorpress.compression.targets import timed

IMAGE = torch.zeros(1, 3, 12, 12)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(24, 16, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
    ).eval()


class StillClock:
    """Seconds that follow the parameters: what a machine of one's dreams would show."""

    lag = 1.0

    def __init__(self, net, example_inputs, *, runtime, threads, batch):  # noqa: ARG002
        self.net, self.asked = net, (runtime, threads, batch)
        self.threads, self.batch = threads or 2, batch or 1

    def layer_seconds(self, chains, on_step):
        on_step(1, 1)
        dense = {"2": 16 * 24 * 9, "4": 24 * 16 * 9}
        return {n: (tp.count(c, torch.zeros(1, c[0].in_channels, 12, 12)).params, dense[n])
                for n, c in chains.items()}  # fmt: skip

    def network_seconds(self, chains):
        layers = self.layer_seconds(chains, lambda *_: None)
        dense = 2 * 16 * 24 * 9 + 1000
        spared = sum(whole - taken for taken, whole in layers.values())
        return dense - spared * self.lag, dense


@pytest.fixture
def still_clock(monkeypatch):
    monkeypatch.setattr(timed, "ChainClock", StillClock)
    return StillClock


def speedup_of(result) -> float:
    chains = {n: m for n, m in result.model.named_children() if hasattr(m, "ranks")}
    seconds, dense = StillClock(None, None, runtime="", threads=1, batch=1).network_seconds(chains)
    return dense / seconds


@pytest.mark.parametrize("lag", [1.0, 0.9])
def test_the_speedup_is_reached_also_where_layers_promise_more_than_the_network_keeps(
    still_clock, monkeypatch, lag
):
    monkeypatch.setattr(still_clock, "lag", lag)
    result = tp.compress(small_net(), IMAGE, budget=tp.Budget(speedup=2))
    assert 2.0 <= speedup_of(result) < 3.5


@pytest.mark.usefixtures("still_clock")
def test_milliseconds_and_ratios_are_kept_together():
    dense = 2 * 16 * 24 * 9 + 1000
    budget = tp.Budget(params=2, milliseconds=1e3 * dense / 1.5)
    result = tp.compress(small_net(), IMAGE, budget=budget)
    assert result.pcr >= 2
    assert speedup_of(result) >= 1.5


@pytest.mark.usefixtures("still_clock")
def test_the_account_tells_the_time_that_was_measured():
    result = tp.compress(small_net(), IMAGE, budget=tp.Budget(speedup=2, threads=1))
    seconds = 7912 / speedup_of(result)
    assert result.time is not None
    assert result.time.milliseconds == pytest.approx(1e3 * seconds)
    assert result.to_dict()["time"] == {
        "runtime": "torch", "threads": 1, "batch": 1,
        "milliseconds": result.time.milliseconds, "before": 7912e3,
    }  # fmt: skip
    ratio = f"{speedup_of(result):.2f}x"
    told = f"7912000.00 -> {1e3 * seconds:.2f} ms ({ratio}), torch, 1 thread, batch 1"
    assert told in str(result).splitlines()
    untimed = tp.compress(small_net(), IMAGE, budget=tp.Budget(params=2))
    assert untimed.time is None
    assert "time" not in untimed.to_dict()


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.usefixtures("still_clock")
def test_a_time_that_the_network_takes_already_is_told_as_such(calibrated):
    budget = tp.Budget(milliseconds=1e7, batch=3)
    images = torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    result = tp.compress(
        small_net(), IMAGE, budget=budget, calibration=images if calibrated else None,
        progress=False, **({"recover": False} if calibrated else {}),
    )  # fmt: skip
    assert "already within the budget: 7912000.00 ms (torch, 2 threads, batch 3)" in str(result)
    assert "2 of 3 convolutions: not needed for the budget" in str(result)
    assert "costs the answers" not in str(result)


@pytest.mark.usefixtures("still_clock")
def test_a_time_that_cannot_be_reached_says_how_far_it_goes():
    with pytest.raises(tp.TensorpressError, match=r"speedup 50 cannot be reached.*speedup \d"):
        tp.compress(small_net(), IMAGE, budget=tp.Budget(speedup=50))


@pytest.mark.parametrize(
    ("lag", "budget", "told"),
    [
        (1.0, tp.Budget(milliseconds=100), "100 ms cannot be reached: the cheapest options"),
        (0.5, tp.Budget(speedup=2), "speedup 2 cannot be reached in torch: the last network"),
    ],
)
def test_the_error_is_of_the_time_that_was_asked_for(still_clock, monkeypatch, lag, budget, told):
    """Both where layers are not fast enough, and where the network is not as fast as they."""
    monkeypatch.setattr(still_clock, "lag", lag)
    with pytest.raises(tp.TensorpressError, match=f"^{told} .* ms[.)]"):
        tp.compress(small_net(), IMAGE, budget=budget)


@pytest.mark.usefixtures("still_clock")
def test_with_images_the_time_is_kept_as_well():
    images = torch.randn(64, 3, 12, 12, generator=torch.Generator().manual_seed(1))
    recovery = tp.Recovery(distil_epochs=0)
    budget = tp.Budget(speedup=1.5)
    result = tp.compress(
        small_net(), IMAGE, budget=budget, calibration=images, recover=recovery, progress=False
    )
    assert speedup_of(result) >= 1.5
    with pytest.raises(tp.TensorpressError, match="allocate has to stay on"):
        tp.compress(
            small_net(), IMAGE, budget=budget, calibration=images,
            recover=tp.Recovery(allocate=False, distil_epochs=0), progress=False,
        )  # fmt: skip


@pytest.mark.usefixtures("measured_once")
def test_a_real_clock_gives_a_network_that_computes():
    budget = tp.Budget(params=1.5, milliseconds=1e6, threads=1, batch=2)
    result = tp.compress(small_net(), IMAGE, budget=budget)
    assert result.pcr >= 1.5
    assert torch.isfinite(result.model(IMAGE)).all()


@pytest.mark.usefixtures("measured_once")
def test_random_numbers_go_on_as_if_nothing_was_timed():
    net = small_net()
    before = torch.get_rng_state()
    tp.compress(net, IMAGE, budget=tp.Budget(speedup=1e-3, threads=1), method="auto")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"speedup": -2}, r"speedup=-2\): give a number above 0"),
        ({"speedup": 2, "threads": 0}, r"threads=0: give a whole number from 1 to 1,024"),
        ({"speedup": 2, "threads": True}, r"threads=True: give a whole number from 1 to 1,024"),
        ({"speedup": 2, "batch": True}, r"batch=True\): give a whole number from 1 on"),
        ({"speedup": 2, "threads": 10**5}, r"threads=100000: give a whole number from 1 to"),
        ({"speedup": 2, "batch": 0}, r"batch=0\): give a whole number from 1 on"),
        ({"milliseconds": 0}, "above 0"),
        ({"milliseconds": float("nan")}, "above 0"),
        ({}, "speedup= or milliseconds="),
    ],
)
def test_impossible_budgets(given, message):
    with pytest.raises(tp.TensorpressError, match=message):
        tp.Budget(**given)


@pytest.mark.parametrize("given", [{"rank": tp.Energy(0.6)}, {"budget": tp.Budget(params=1.5)}])
def test_ranks_are_rounded_to_a_multiple(given):
    result = tp.compress(small_net(), IMAGE, round_to=4, **given)
    ranks = [row.ranks for row in result.layers if row.ranks]
    assert ranks
    assert all(rank % 4 == 0 for layer in ranks for rank in layer)
    if "budget" in given:
        assert result.pcr >= 1.5
    plain = tp.compress(small_net(), IMAGE, **given)
    assert any(rank % 4 for row in plain.layers for rank in row.ranks or ())


def test_rounding_is_refused_where_it_makes_no_sense():
    with pytest.raises(tp.TensorpressError, match="round_to=0"):
        tp.compress(small_net(), IMAGE, rank=tp.Energy(0.6), round_to=0)


def test_a_third_price_is_the_one_that_counts_where_only_time_is_short():
    cheap_in_time = Option(90, 90, 0.1, seconds=1.0)
    cheap_in_size = Option(10, 10, 0.1, seconds=9.0)
    options = [[Option(100, 100, 0.0, seconds=10.0), cheap_in_size, cheap_in_time]]
    assert choose_least_loss(options, (100, 100, 10.0), tp.Budget(speedup=5)) == [2]
    assert choose_least_loss(options, (100, 100, 10.0), tp.Budget(params=5)) == [1]
    with pytest.raises(tp.TensorpressError, match=r"speedup 10\.00"):
        choose_least_loss(options, (100, 100, 10.0), tp.Budget(speedup=11))


@pytest.mark.parametrize("method", ["kronecker", "tt", "tensor-ring", "hierarchical-tucker"])
@pytest.mark.usefixtures("measured_once")
def test_methods_with_blocks_are_timed_beside_the_dense_kernel(method):
    budget = tp.Budget(macs=1.3, milliseconds=1e6, threads=1)
    result = tp.compress(small_net(), IMAGE, method=method, budget=budget)
    assert result.fcr >= 1.3
