"""The best form for every layer: found where it is known, never worse than one form for all."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.compression.metrics.kernel_metric import KernelMetric
from tensorpress.compression.options.measured import picks_by_loss
from tensorpress.compression.selection import Selection, select
from tensorpress.layers.methods import FORMS, METHODS
from tensorpress.request.budget import Budget
from tensorpress.request.request import Request
from tensorpress.surgery import survey

IMAGE = torch.zeros(1, 3, 12, 12)
WIDTH = 12


def images(count: int = 96) -> Tensor:
    return torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def made_of(method: str, ranks: tuple[int, ...], seed: int) -> nn.Conv2d:
    """A convolution whose kernel is exactly that of a form at these ranks."""
    torch.manual_seed(seed)
    conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
    chain = METHODS[method].build(conv, ranks)
    for parameter in chain.parameters():
        fan_in = parameter[0].numel() if parameter.dim() > 1 else 1
        nn.init.normal_(parameter.data, std=fan_in**-0.5)
    with torch.no_grad():
        probe = torch.eye(WIDTH * 9).reshape(-1, WIDTH, 3, 3)
        answers = nn.functional.pad(probe, (1, 1, 1, 1))
        bias = chain[-1].bias  # type: ignore[index]
        kernel = chain(answers)[:, :, 2, 2] - bias  # type: ignore[operator]
        conv.weight.copy_(kernel.T.reshape(WIDTH, WIDTH, 3, 3).to(conv.weight.dtype))
    return conv.eval()


KNOWN = {
    "depthwise-separable": (10,),
    "spatial-svd": (4,),
    "spatial-svd-reversed": (4,),
    "ttpwt": (3, 5, 3),
    "tucker2": (3, 4),
    "input-svd": (2,),
    "channel-svd": (2,),
}


def net_of(*methods: str) -> nn.Module:
    layers: list[nn.Module] = [nn.Conv2d(3, WIDTH, 3, padding=1), nn.ReLU()]
    for number, method in enumerate(methods):
        layers += [made_of(method, KNOWN[method], number), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 5)).eval()


def relative_error(model: nn.Module, original: nn.Module) -> float:
    with torch.no_grad():
        wanted = original(images())
        return float((model(images()) - wanted).norm() / wanted.norm())


def cost_at_known(net: nn.Module, methods: tuple[str, ...]) -> float:
    """FCR with each layer at the form and ranks that it is made of."""
    rank = {str(2 + 2 * n): tp.Ranks(*KNOWN[m]) for n, m in enumerate(methods)}
    before = tp.count(net, IMAGE).macs
    saved = 0
    for name, method in zip(rank, methods, strict=True):
        row = tp.compress(net, IMAGE, method=method, rank=rank[name], include=[name])
        saved += row.macs_before - row.macs_after
    return before / (before - saved)


@pytest.mark.parametrize("calibrated", [False, True])
@pytest.mark.parametrize(
    "methods",
    [("depthwise-separable", "spatial-svd"), ("tucker2", "spatial-svd-reversed", "input-svd")],
)
def test_each_layer_gets_the_form_that_it_is_made_of(
    methods: tuple[str, ...], calibrated: bool
) -> None:
    net = net_of(*methods)
    given = {"calibration": images(), "recover": False} if calibrated else {}
    fcr = cost_at_known(net, methods)
    asked = None if calibrated else "auto"
    result = tp.compress(net, IMAGE, method=asked, budget=Budget(macs=0.93 * fcr), **given)  # type: ignore[arg-type]
    assert relative_error(result.model, net) < 0.05
    others = [name for name in FORMS if name not in methods][:3]
    for method in others:
        alone = tp.compress(net, IMAGE, method=method, budget=Budget(macs=0.93 * fcr), **given)  # type: ignore[arg-type]
        assert relative_error(result.model, net) < relative_error(alone.model, net)
    named = [row.method for row in result.layers if row.method]
    assert result.request["method"] == "auto"
    assert len(named) == len(methods)


def test_the_least_sum_of_losses_is_at_most_that_of_any_form_alone() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 10, 3, padding=1),
        nn.Conv2d(10, 12, 3, padding=1),
        nn.Conv2d(12, 16, (1, 5)),
        nn.Conv2d(16, 8, 1),
    )
    surveyed = survey(net, IMAGE)
    selection = Selection.of(None, ())
    budget = Budget(macs=2)

    def least(names: tuple[str, ...]) -> float:
        tasks, _ = select(net, surveyed, [METHODS[name] for name in names], selection)
        layers = KernelMetric(progress=False).measured(tasks)
        picks = {pick.name: pick for pick in picks_by_loss(layers, surveyed.cost, budget)}
        chosen = [layer.picks.index(picks.get(layer.name)) for layer in layers]
        return sum(layer.options[i].loss for layer, i in zip(layers, chosen, strict=True))

    alone = {name: least((name,)) for name in FORMS}
    together = least(FORMS)
    assert all(together <= loss * (1 + 1e-6) for loss in alone.values()), alone
    assert together < 0.98 * max(alone.values())


@pytest.mark.parametrize(
    ("layer", "shape", "count"),
    [
        (nn.Conv2d(6, 8, 3), (1, 6, 9, 9), 13),
        (nn.Conv2d(6, 8, 1), (1, 6, 9, 9), 1),
        (nn.Conv1d(6, 8, 5), (1, 6, 9), 4),
        (nn.Conv2d(6, 8, (1, 5)), (1, 6, 9, 9), 4),
    ],
)
def test_forms_that_differ_in_name_alone_are_looked_at_once(
    layer: nn.Module, shape: tuple[int, ...], count: int
) -> None:
    net = nn.Sequential(layer)
    surveyed = survey(net, torch.zeros(shape))
    selection = Selection.of(None, (), skip_first=False)
    tasks, kept = select(net, surveyed, [METHODS[name] for name in FORMS], selection)
    assert not kept
    assert len(tasks) == count, [task.treatment.name for task in tasks]


def test_the_choice_is_narrowed_and_recorded(tmp_path: Path) -> None:
    net = net_of("depthwise-separable", "spatial-svd")
    asked = ("ttpwt", "spatial-svd")
    result = tp.compress(net, IMAGE, methods=asked, budget=Budget(macs=2))
    assert {row.method for row in result.layers if row.method} <= set(asked)
    assert result.request["methods"] == list(asked)
    tp.save(result, tmp_path / "net.tp")
    loaded = tp.load(tmp_path / "net.tp", into=net_of("spatial-svd", "spatial-svd"))
    assert torch.equal(loaded(images()), result.model(images()))


@pytest.mark.parametrize("asked", [("ttpwt",), ("ttpwt", "spatial-svd")])
def test_what_was_recorded_can_be_asked_for_again(asked: tuple[str, ...]) -> None:
    net = net_of("ttpwt")
    result = tp.compress(net, IMAGE, methods=asked, budget=Budget(macs=2))
    again = tp.compress(net, IMAGE, **Request.from_dict(result.request).arguments())
    assert again.layers == result.layers
    assert again.request == result.request


def test_by_a_rank_rule_auto_is_ttpwt() -> None:
    net = net_of("ttpwt", "tucker2")
    result = tp.compress(net, IMAGE, method="auto", rank=tp.Energy(0.5))
    assert {row.method for row in result.layers if row.method} == {"ttpwt"}
    assert result.request["method"] == "ttpwt"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": ("ttpwt", "none")}, "there is no method 'none'"),
        ({"methods": "ttpwt"}, "give several"),
        ({"methods": ()}, "give several"),
        ({"methods": ("ttpwt", "ttpwt")}, "each once"),
        ({"methods": ("ttpwt", "auto")}, "each once"),
        ({"methods": ("ttpwt", "deep-k-means")}, "is no decomposition"),
        ({"methods": ("ttpwt", "tucker2"), "method": "ttpwt"}, "method='auto' chooses from"),
        ({"methods": ("ttpwt", "tucker2"), "method": "l1"}, "knows nothing of it"),
    ],
)
def test_what_cannot_be_chosen_from(given: dict[str, object], message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message) as caught:
        tp.compress(net_of("ttpwt"), IMAGE, budget=Budget(macs=2), **given)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    ranked = {"methods": ("ttpwt", "tucker2"), "rank": tp.Energy(0.5)}
    with pytest.raises(tp.TensorpressError, match="a rule for one method"):
        tp.compress(net_of("ttpwt"), IMAGE, **ranked)  # type: ignore[arg-type]


def test_a_layer_that_no_form_makes_smaller_stays() -> None:
    """As the one output of a head that sums over places, which YOLO has."""
    torch.manual_seed(0)
    body, sum_up = nn.Conv2d(3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 1, 1, bias=False)
    net = nn.Sequential(body, nn.ReLU(), nn.Conv2d(WIDTH, WIDTH, 3, padding=1), sum_up).eval()
    found = tp.compress(net, IMAGE, budget=Budget(macs=1.5), calibration=images(32), recover=False)
    assert found.fcr >= 1.5
    assert type(found.model[3]) is nn.Conv2d  # type: ignore[index]
