"""Factorized layers are marked in the graph, and what they are multiplied with is theirs."""

import pytest
import torch
from plan_nets import IMAGE, PLANNED
from torch import nn

from tensorpress.deploy.execution import factorized_layers
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.runtimes.onnx_graph import _kernel
from tensorpress.deploy.runtimes.onnx_marks import export_dense, read_graph, write_graph
from tensorpress.graphs.nodes import MARK

pytest.importorskip("onnx")
onnx_ir = pytest.importorskip("onnx_ir")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("residual", ["first", "second", "short"]),
        ("tied", ["0", "2"]),
        ("twice", ["inner", "inner", "inner", "stem"]),
        ("tokens", ["first", "second"]),
    ],
)
def test_a_graph_that_is_kept_marks_every_call_and_holds_no_kernel(
    name: str, calls: list[str]
) -> None:
    net, example = PLANNED[name]()
    net.eval()
    graph = read_graph(write_graph(export_dense(net, read_feed(example, dynamic_batch=True))))
    marked = [node for node in graph.graph if MARK in node.metadata_props]
    assert sorted(node.metadata_props[MARK] for node in marked) == calls
    assert set(calls) == set(factorized_layers(net))
    assert all(len(node.inputs[1].shape) == 1 for node in marked)


def test_what_a_batch_norm_multiplies_with_is_found_exactly() -> None:
    net, _ = PLANNED["residual"]()
    net.eval()
    feed = read_feed(torch.randn(2, *IMAGE), dynamic_batch=True)
    graph = export_dense(net, feed).graph
    scales = {n.metadata_props.get(MARK): n.inputs[1].const_value for n in graph if n.inputs[1:]}
    for layer, norm in (("first", net.bn1), ("second", net.bn2)):
        expected = norm.weight / (norm.running_var + norm.eps).sqrt()
        torch.testing.assert_close(torch.tensor(scales[layer].numpy()).float(), expected.detach())
    assert (scales["short"].numpy() == 1).all()


@pytest.mark.parametrize(
    ("kind", "layer", "shape"),
    [
        ("Conv", nn.Conv2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 6)),
        ("ConvTranspose", nn.ConvTranspose2d(4, 6, 3, groups=2, bias=False), (2, 4, 5, 6)),
        ("MatMul", nn.Linear(4, 6, bias=False), (2, 5, 4)),
    ],
)
def test_a_kernel_scaled_is_the_outputs_scaled(
    kind: str, layer: nn.Module, shape: tuple[int, ...]
) -> None:
    scale = torch.rand(6, dtype=torch.float64) - 0.5
    kernel = _kernel(layer, onnx_ir.node(kind, []), scale)
    x = torch.randn(shape)
    with torch.no_grad():
        expected = layer(x)
        if kind == "MatMul":
            found, expected = x @ kernel, expected * scale.float()
        else:
            expected = expected * scale.float()[:, None, None]
            layer.weight.copy_(kernel)
            found = layer(x)
    torch.testing.assert_close(found, expected)
