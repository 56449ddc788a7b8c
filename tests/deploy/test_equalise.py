"""Channels between convolutions brought to ranges that 8 bits serve best; names made short."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tensorpress.deploy.feed import Feed, read_feed
from tensorpress.deploy.formats.onnx import to_onnx
from tensorpress.deploy.int8 import quantise
from tensorpress.deploy.int8.equalise import equalise, scales
from tensorpress.deploy.int8.quantise import quantised
from tensorpress.deploy.int8.short_names import shorten_names
from tensorpress.deploy.trace import trace

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


def graph_of(net: nn.Module, x: Tensor) -> Any:
    return to_onnx(trace(net.eval(), feed_of(x))).model_proto


def feed_of(x: Tensor) -> Feed:
    return read_feed(x, dynamic_batch=True)


def answers(model: Any, x: Tensor, *, names: tuple[str, ...] = ()) -> list[Any]:
    watched = onnx.ModelProto.FromString(model.SerializeToString())
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString())
    found: list[Any] = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return found


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.5


def uneven(net: nn.Module) -> nn.Module:
    """With channels of very different sizes, some of them mostly below zero."""
    torch.manual_seed(1)
    for layer in net.modules():
        if isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            ends = [1] * (layer.weight.dim() - 1)
            sizes = torch.logspace(-2, 1, len(layer.weight))[torch.randperm(len(layer.weight))]
            signs = torch.randn(len(sizes)).sign()
            with torch.no_grad():
                layer.weight.abs_().mul_((sizes * signs).reshape(-1, *ends))
    return net.eval()


CHAINS = {
    "separable": (
        nn.Sequential(
            nn.Conv2d(4, 6, 1, bias=False),
            nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
            nn.Conv2d(6, 5, 1),
        ),
        (2, 4, 7, 7),
    ),
    "strides, groups and no padding": (
        nn.Sequential(nn.Conv2d(4, 6, 1), nn.Conv2d(6, 4, (3, 2), (2, 1), groups=2, bias=False)),
        (2, 4, 8, 9),
    ),
    "one axis": (nn.Sequential(nn.Conv1d(3, 5, 3), nn.Conv1d(5, 4, 3, padding=2)), (2, 3, 12)),
    "three axes": (nn.Sequential(nn.Conv3d(2, 4, 1), nn.Conv3d(4, 3, 2)), (2, 2, 4, 4, 4)),
}


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_the_graph_gives_the_same(chain: tuple[nn.Module, tuple[int, ...]]) -> None:
    net, shape = uneven(chain[0]), chain[1]
    x = inputs(*shape)
    model = graph_of(net, x)
    before = model.SerializeToString()
    equalise(model, feed_of(x))
    assert model.SerializeToString() != before
    np.testing.assert_allclose(answers(model, x)[0], net(x).detach().numpy(), rtol=1e-3, atol=1e-4)


def test_channels_get_one_range() -> None:
    net, x = uneven(CHAINS["separable"][0]), inputs(*CHAINS["separable"][1])
    model = graph_of(net, x)
    equalise(model, feed_of(x))
    nodes = [node for node in model.graph.node if node.op_type == "Conv"]
    between = tuple(node.output[0] for node in nodes[:2])
    *_, first, second = answers(model, x, names=between)
    # The second layer pads nothing: its channels are shifted, too.
    np.testing.assert_allclose(second.max((0, 2, 3)), 1, rtol=1e-3)
    np.testing.assert_allclose(second.min((0, 2, 3)), -1, rtol=1e-3)
    # The first one's are only multiplied: none reaches further below zero than above.
    assert (first.max((0, 2, 3)) >= -first.min((0, 2, 3)) * 0.999).all()
    assert first.max() == pytest.approx(1, rel=1e-3)


def lost(scale: Any, low: Any, high: Any, gain: Any) -> float:
    ends = np.stack([low * scale, high * scale])
    return float((ends.max() - ends.min()) ** 2 * (gain / scale**2).sum())


def test_no_other_scales_lose_less() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        low, high = -rng.exponential(size=6), rng.exponential(size=6)
        low[0], high[1] = 0, 0
        gain = rng.exponential(size=6)
        found = lost(scales(low, high, gain), low, high, gain)
        assert found <= lost(np.ones(6), low, high, gain)
        for _ in range(200):
            other = rng.exponential(size=6) * rng.choice([-1, 1], 6)
            assert found <= 1.02 * lost(other, low, high, gain)


def test_a_channel_that_is_always_zero_is_left_alone() -> None:
    zero, one = np.zeros(2), np.ones(2)
    assert scales(zero, zero, one).tolist() == [1, 1]
    net = uneven(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)))
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias[1] = 0
    x = inputs(2, 3, 5, 5)
    model = graph_of(net, x)
    equalise(model, feed_of(x))
    np.testing.assert_allclose(answers(model, x)[0], net(x).detach().numpy(), rtol=1e-3, atol=1e-4)


class Looked(nn.Module):
    """What is between two convolutions is looked at elsewhere, and a weight serves twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Conv2d(3, 3, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        between = self.first(x)
        again = self.third(self.third(self.second(between).relu()))
        return again + between


def test_what_is_looked_at_or_shared_stays() -> None:
    x = inputs(2, 3, 5, 5)
    model = graph_of(uneven(Looked()), x)
    before = model.SerializeToString()
    equalise(model, feed_of(x))
    assert model.SerializeToString() == before


def error(model: Any, net: nn.Module, x: Tensor) -> float:
    expected = net(x).detach().numpy()
    off = answers(model, x)[0] - expected
    return float(np.sqrt((off**2).sum() / ((expected - expected.mean(0)) ** 2).sum()))


def test_int8_is_nearer_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    net = uneven(CHAINS["separable"][0])
    with torch.no_grad():  # each channel of like weight in the outputs, whatever its size
        net[2].weight.div_(
            net(inputs(8, 4, 7, 7)).std() * net[1].weight.abs().sum((1, 2, 3))[None, :, None, None]
        )
    x = inputs(32, 4, 7, 7)
    model = graph_of(net, x)
    found = error(quantised(model, feed_of(x)), net, x)
    monkeypatch.setattr(quantise, "equalise", lambda *_: None)
    assert found < 0.5 * error(quantised(model, feed_of(x)), net, x)


def test_means_of_outputs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 64, 1)).eval()
    with torch.no_grad():
        net[2].weight *= torch.randn_like(net[2].weight).square()
    x = inputs(64, 3, 8, 8)
    model = graph_of(net, x)
    off = answers(quantised(model, feed_of(x)), x)[0] - net(x).detach().numpy()
    means = np.abs(off.mean((0, 2, 3))).mean()
    monkeypatch.setattr(quantise, "round_by_outputs", lambda *_: None)
    off = answers(quantised(model, feed_of(x)), x)[0] - net(x).detach().numpy()
    assert means < 0.5 * np.abs(off.mean((0, 2, 3))).mean()


def test_short_names_change_nothing_else() -> None:
    net = uneven(CHAINS["separable"][0])
    x = inputs(*CHAINS["separable"][1])
    made = quantised(graph_of(net, x), feed_of(x), finely=False)
    short = onnx.ModelProto.FromString(made.SerializeToString())
    shorten_names(short)
    onnx.checker.check_model(short)
    assert short.ByteSize() < 0.8 * made.ByteSize()
    for part in ("input", "output"):
        names = [[value.name for value in getattr(m.graph, part)] for m in (made, short)]
        assert names[0] == names[1]
    assert np.array_equal(answers(made, x)[0], answers(short, x)[0])
    assert [n.name for n in short.graph.node if n.op_type == "Conv"] == [
        n.name for n in made.graph.node if n.op_type == "Conv"
    ]


def test_names_that_are_short_already_are_not_taken_twice() -> None:
    node = onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Relu", ["v1"], ["long"]),
            node("Relu", ["long"], ["v2"]),
            node("Relu", ["v2"], ["v0"]),
        ],
        "graph",
        [onnx.helper.make_tensor_value_info("v1", 1, [2])],
        [onnx.helper.make_tensor_value_info("v0", 1, [2])],
    )
    model = onnx.helper.make_model(graph)
    shorten_names(model)
    onnx.checker.check_model(model)
    assert len({name for n in model.graph.node for name in n.output}) == 3


def test_a_subgraph_keeps_all_names() -> None:
    node, info = onnx.helper.make_node, onnx.helper.make_tensor_value_info
    inner = onnx.helper.make_graph(
        [node("Relu", ["outside"], ["inside"])], "inner", [], [info("inside", 1, None)]
    )
    graph = onnx.helper.make_graph(
        [
            node("Neg", ["x"], ["outside"]),
            node("If", ["which"], ["y"], then_branch=inner, else_branch=inner),
        ],
        "graph",
        [info("x", 1, [2]), info("which", 9, [])],
        [info("y", 1, [2])],
    )
    model = onnx.helper.make_model(graph)
    before = model.SerializeToString()
    shorten_names(model)
    assert model.SerializeToString() == before


def test_what_a_branch_reads_from_outside_stays_as_it_is() -> None:
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    model, x = graph_of(uneven(CHAINS["separable"][0]), inputs(2, 4, 7, 7)), inputs(9, 4, 7, 7)
    between = model.graph.node[0].output[0]
    branches = {}
    for name, operation in (("then_branch", "Identity"), ("else_branch", "Neg")):
        value = helper.make_tensor_value_info(name, kind, None)
        node = helper.make_node(operation, [between], [name])
        branches[name] = helper.make_graph([node], name, [], [value])
    condition = onnx.numpy_helper.from_array(np.array(True), "condition")
    model.graph.initializer.append(condition)
    model.graph.node.append(helper.make_node("If", ["condition"], ["chosen"], **branches))
    model.graph.output.append(helper.make_tensor_value_info("chosen", kind, None))
    before = answers(model, x)
    equalise(model, feed_of(x))
    for found, expected in zip(answers(model, x), before, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
