import importlib
from itertools import pairwise

import pytest
import torch
from branched_net import IMAGE, branched, images

import tensorpress as tp


def test_points_keep_their_budgets_and_lose_more_the_smaller_they_are() -> None:
    net = branched()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    scored: list[int] = []

    def score(model: torch.nn.Module) -> float:
        scored.append(sum(p.numel() for p in model.parameters()))
        return float(len(scored))

    found = tp.explore(net, IMAGE, images(64), ratios=(1.5, 99.0, 1.2, 2.0), score=score)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert [layer.name for layer in found.layers] == ["a", "b", "twice"]
    assert len(found.points) == 3
    assert scored[0] == found.cost.params
    for point, ratio, params in zip(found.points, (1.2, 1.5, 2.0), scored[1:], strict=True):
        assert point.pcr >= ratio
        assert point.fcr >= ratio
        assert point.pcr == pytest.approx(found.cost.params / params)
    losses = [point.loss for point in found.points]
    assert losses == sorted(losses)
    assert losses[0] > 0
    assert [point.score for point in found.points] == [2.0, 3.0, 4.0]
    original = found.original
    assert original is not None
    assert (original.pcr, original.fcr, original.loss, original.score) == (1.0, 1.0, 0.0, 1.0)
    text = str(found)
    assert [line.split() for line in text.splitlines()][-5] == ["1.00", "1.00", "0.0000", "1.00"]
    assert all(f"{point.pcr:.2f}" in text for point in found.points)


def test_losses_fall_with_the_parameters() -> None:
    """But for hairs: it is the output's error that they fall with strictly."""
    found = tp.explore(branched(), IMAGE, images(64), method="ttpwt", ratios=())
    for layer in found.layers:
        options = sorted(layer.options, key=lambda option: option.params)
        assert all(more.loss < 1.05 * less.loss for less, more in pairwise(options))
        assert options[-1] is layer.options[0]


def test_a_layer_alone_loses_what_is_measured() -> None:
    """The most and the least compressed of the options are measured, not interpolated."""
    net, parts = branched(), images(64)
    layer = tp.explore(net, IMAGE, parts, ratios=()).layers[0]
    number = min(range(1, len(layer.options)), key=lambda i: layer.options[i].params)
    ranks = layer.ranks[number]
    assert ranks is not None
    alone = tp.compress(
        net,
        IMAGE,
        rank={"a": tp.Ranks(*ranks)},
        calibration=parts,
        recover=tp.Recovery(reconstruct=False, sweeps=0, distil_epochs=0),
    ).model
    with torch.no_grad():
        wanted, given = (m.train()(parts).log_softmax(1) for m in (net, alone))
    measured = float((wanted.exp() * (wanted - given)).sum(1).mean())
    assert layer.options[number].loss == pytest.approx(measured, rel=1e-3)


def test_nothing_to_explore() -> None:
    with pytest.raises(tp.TensorpressError, match="no layer to explore"):
        tp.explore(torch.nn.Conv2d(3, 4, 3), IMAGE, images(64))


@pytest.mark.parametrize("ratio", [0.5, float("nan"), float("inf")])
def test_odd_ratios_are_told_before_anything_is_measured(
    ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("tensorpress.compression.explore"), "survey", None)
    with pytest.raises(tp.TensorpressError, match="a compression ratio must be"):
        tp.explore(branched(), IMAGE, images(64), ratios=(2, ratio))
