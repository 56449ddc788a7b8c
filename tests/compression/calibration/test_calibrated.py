"""compress(..., calibration=images), as its users call it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from branched_net import IMAGE, branched, images
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import tensorpress as tp
from tensorpress.compression import Request, foresee
from tensorpress.compression.calibration import divergence, outputs
from tensorpress.compression.metrics.input_metric import InputMetric

CLOSED_FORM = tp.Recovery(distil_epochs=0)
BUDGET = tp.Budget(params=1.8, macs=2.0)


def compressed(net: nn.Module, **options: Any) -> Any:
    """By one method: the best of several is that much longer to find, and in test_auto.py."""
    given: dict[str, Any] = {"budget": BUDGET, "calibration": images(128), "progress": False}
    given["method"] = "ttpwt"
    return tp.compress(net, IMAGE, **{**given, **options})


def loss(net: nn.Module, model: nn.Module) -> float:
    x = images(256, seed=77)
    return float(divergence(outputs(model, [x]), outputs(net, [x])))


def test_it_answers_better_than_the_plain_method_at_the_same_budget() -> None:
    of_plain, of_closed = [], []
    for seed in range(3):
        net = branched(seed)
        plain = tp.compress(net, IMAGE, method="ttpwt", budget=BUDGET)
        closed = compressed(net, recover=False)
        whole = compressed(net)
        for result in (closed, whole):
            assert BUDGET.is_met(result.pcr, result.fcr)
        of_plain.append(loss(net, closed.model) / loss(net, plain.model))
        of_closed.append(loss(net, whole.model) / loss(net, closed.model))
    assert max(of_plain) < 0.5
    assert sum(of_closed) / len(of_closed) < 0.9


SWITCHES = {
    "nothing": tp.Recovery(False, False, False, False, distil_epochs=0),
    "statistics": tp.Recovery(False, False, False, True, distil_epochs=0),
    "data-aware": tp.Recovery(True, False, False, True, distil_epochs=0),
    "reconstruction": tp.Recovery(True, False, True, True, distil_epochs=0),
    "allocation": tp.Recovery(True, True, False, True, distil_epochs=0),
    "distillation": tp.Recovery(False, False, False, True, distil_epochs=2),
}


@pytest.mark.parametrize("recover", SWITCHES.values(), ids=SWITCHES)
def test_each_step_can_be_taken_alone(recover: tp.Recovery) -> None:
    net = branched()
    result = compressed(net, recover=recover)
    assert BUDGET.is_met(result.pcr, result.fcr)
    plain = tp.compress(net, IMAGE, method="ttpwt", budget=BUDGET)
    if not (recover.data_aware or recover.distil_epochs):
        state = result.model.state_dict()
        changed = {n for n, v in plain.model.state_dict().items() if not torch.equal(v, state[n])}
        statistics = {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
        assert changed == (statistics if recover.statistics else set())
    else:
        assert loss(net, result.model) < loss(net, plain.model)


def test_a_rank_rule_is_read_in_the_metric_of_the_data() -> None:
    net = branched()
    rules = {"a": tp.Energy(0.7), "b": tp.Ranks(3, 4, 3)}
    result = compressed(net, budget=None, rank=rules, recover=CLOSED_FORM)
    rows = {row.name: row for row in result.layers}
    assert rows["b"].ranks == (3, 4, 3)
    plain = {r.name: r for r in tp.compress(net, IMAGE, rank={"a": tp.Energy(0.7)}).layers}
    assert sum(rows["a"].ranks) < sum(plain["a"].ranks)
    assert rows["twice"].decision == "kept: no rank rule fits its name"


def test_the_network_is_as_it_was_and_so_are_its_settings() -> None:
    net = branched().train()
    net.stem.weight.requires_grad_(False)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    result = compressed(net, recover=tp.Recovery(distil_epochs=1))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(module.training for module in (*net.modules(), *result.model.modules()))
    assert not net.stem.weight.requires_grad
    assert not result.model.stem.weight.requires_grad
    assert result.model.a[0].weight.requires_grad
    assert all(p.grad is None for p in (*net.parameters(), *result.model.parameters()))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_the_same_seed_gives_the_same_bits() -> None:
    torch.set_num_threads(1)
    one, two = (compressed(branched(), recover=tp.Recovery(distil_epochs=2)) for _ in range(2))
    states = one.model.state_dict(), two.model.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    other = compressed(branched(), recover=tp.Recovery(distil_epochs=2, seed=1))
    assert not torch.equal(other.model.head.weight, one.model.head.weight)


LOADERS: dict[str, Callable[[Tensor], Any]] = {
    "batches": lambda x: list(x.split(50)),
    "labelled": lambda x: DataLoader(TensorDataset(x, torch.zeros(len(x))), batch_size=50),
    "mappings": lambda x: [{"pixel_values": part} for part in x.split(50)],
}


def test_images_from_loaders_are_the_images() -> None:
    plain = compressed(branched(), recover=CLOSED_FORM).model.state_dict()
    for name, give in LOADERS.items():
        loaded = compressed(branched(), recover=CLOSED_FORM, calibration=give(images(128)))
        state = loaded.model.state_dict()
        assert all(torch.equal(value, state[key]) for key, value in plain.items()), name


def nan_inside(x: Tensor) -> Tensor:
    x[3, 1, 2, 2] = float("nan")
    return x


def overflowing(net: nn.Module) -> nn.Module:
    net.norm.weight.data.fill_(1e38)
    return net


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "few": ({"calibration": images(3)}, "at least 16 images, and 3 were given"),
    "none": ({"calibration": []}, "there are no images"),
    "a number": ({"calibration": 3}, "calibration=int: give a tensor"),
    "texts": ({"calibration": ["a.png"]}, "a calibration batch is 'a.png', of type str"),
    "a folder": ({"calibration": "images"}, "calibration='images': .*takes a folder"),
    "bytes": ({"calibration": (255 * images(20)).to(torch.uint8)}, "torch.uint8: .* mean= and "),
    "half a normalisation": ({"mean": (0.5, 0.5, 0.5)}, "give both"),
    "normalised already": ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, "float32, which are taken"),
    "normalised for nothing": ({"calibration": None, "mean": (0.5,)}, "give calibration= too"),
    "a mean of bytes": ({"mean": (127.5,) * 3, "std": (127.5,) * 3}, "255, give 0.5, 0.5, 0.5"),
    "kinds": ({"calibration": [images(20), images(20).double()]}, "differ in kind"),
    "one image": ({"calibration": images(1)[0, 0, 0]}, "shape .8,.: give them as a batch"),
    "nan": ({"calibration": nan_inside(images(20))}, "hold NaN or inf"),
    "sizes": ({"calibration": [images(20), images(20)[..., :6]]}, "differ in size"),
    "channels": ({"calibration": images(20)[:, :2]}, "does not run on calibration images"),
    "in place": ({"inplace": True}, "inplace=True does not go with calibration"),
    "recover": ({"recover": "yes"}, "recover='yes'"),
    "nothing to recover with": ({"calibration": None, "recover": False}, "recover=False says what"),
    "out of reach": ({"budget": tp.Budget(params=99)}, "PCR 99 cannot be reached"),
}


@pytest.mark.parametrize(("options", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_in_one_line(options: dict[str, Any], message: str) -> None:
    net = branched()
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(tp.TensorpressError, match=message) as caught:
        compressed(net, **options)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[name]) for name, v in net.state_dict().items())


def test_what_no_ranks_reach_is_refused_before_layers_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    net = branched()
    rest = tp.compress(net, IMAGE, rank=tp.Ranks(1, 1, 1))
    treated = sum(row.params_before for row in rest.layers if row.ranks)
    bound = rest.params_before / (rest.params_before - treated)
    assert rest.pcr < bound
    asked = Request(method="ttpwt", budget=tp.Budget(params=bound * 1.01))
    with monkeypatch.context() as patched:
        patched.setattr(InputMetric, "measured", None)
        with pytest.raises(tp.TensorpressError, match=f"PCR stays below {bound:.2f}"):
            compressed(net, budget=asked.budget)
    with pytest.raises(tp.TensorpressError, match=f"PCR stays below {bound:.2f}"):
        foresee(net, IMAGE, asked)
    with pytest.raises(tp.TensorpressError, match="with the smallest ranks that were considered"):
        compressed(net, budget=tp.Budget(params=bound * 0.99), recover=CLOSED_FORM)


def test_networks_that_answer_nonsense_or_are_half_precision() -> None:
    with pytest.raises(tp.TensorpressError, match="NaN or inf"):
        compressed(overflowing(branched()))
    with pytest.raises(tp.TensorpressError, match=r"works in float32, and 'stem\.weight' is"):
        tp.compress(branched().half(), IMAGE.half(), budget=BUDGET, calibration=images(20).half())


def test_a_network_that_is_one_layer() -> None:
    with pytest.raises(tp.TensorpressError, match=r"is one layer.*put it into nn\.Sequential"):
        tp.compress(
            nn.Conv2d(3, 24, 3),
            IMAGE,
            rank=tp.Energy(0.5),
            calibration=images(20),
            skip_first=False,
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sweeps": -1}, r"sweeps=-1"),
        ({"distil_epochs": 1.5}, r"distil_epochs=1\.5"),
        ({"data_aware": False}, "the reconstruction is data-aware"),
    ],
)
def test_odd_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(tp.TensorpressError, match=message):
        tp.Recovery(**settings)


def with_a_hook(net: nn.Module) -> nn.Module:
    net.b.register_forward_hook(lambda _module, _args, output: 2 * output)
    return net


@pytest.mark.parametrize(("change", "message"), [(with_a_hook, "layer 'b' carries forward_hooks")])
@pytest.mark.parametrize("how", [{}, {"budget": None, "rank": tp.Energy(0.5)}])
def test_what_would_be_lost_is_refused(
    change: Callable[[nn.Module], nn.Module], message: str, how: dict[str, Any]
) -> None:
    net = change(branched())
    with pytest.raises(tp.TensorpressError, match=message):
        compressed(net, recover=False, **how)
    with pytest.raises(tp.TensorpressError, match=message):
        tp.explore(net, IMAGE, images(64), ratios=(1.5,))
    result = compressed(
        net, recover=CLOSED_FORM, exclude=["b"], budget=None, rank={"a": tp.Energy(0.5)}
    )
    assert result.model.b is not net.b
    assert type(result.model.b) is type(net.b)


@pytest.mark.parametrize("reconstructed", [True, False])
def test_the_account_of_a_rule_is_as_without_images(reconstructed: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()),
        *(nn.Conv2d(16, 24, 1), nn.ReLU(), nn.Conv2d(24, 16, 3, groups=2), nn.Flatten()),
    ).eval()
    rules = {"2": tp.Ranks(99, 9, 9), "4": tp.Ranks(6, 9, 5), "6": tp.Ranks(12, 36, 8)}
    plain = tp.compress(net, IMAGE, rank=rules)
    recover = tp.Recovery(reconstruct=reconstructed, distil_epochs=0)
    made = compressed(net, budget=None, rank=rules, recover=recover)
    decisions = [row.decision for row in made.layers]
    assert decisions == [row.decision for row in plain.layers]
    assert decisions[1:3] == ["ttpwt (ranks clamped to their bounds)", "ttpwt"]
    assert decisions[3].startswith("kept: would not get smaller")
    assert [row.ranks for row in made.layers] == [row.ranks for row in plain.layers]


def test_a_rule_that_does_not_suit_a_layer_names_it() -> None:
    with pytest.raises(tp.TensorpressError, match=r"layer 'a': Ranks\(3, 4\)"):
        compressed(branched(), budget=None, rank=tp.Ranks(3, 4))
