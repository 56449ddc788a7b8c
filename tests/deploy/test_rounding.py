"""Weights rounded under what a layer is fed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.formats.onnx import to_onnx
from tensorpress.deploy.int8.quantise import quantised
from tensorpress.deploy.int8.rounding import LARGEST, _layers, _moments, rounded
from tensorpress.deploy.trace import trace

pytest.importorskip("onnx")


def scaled(weight: Tensor) -> Tensor:
    return weight.abs().amax(2) / LARGEST


def correlated(count: int, generator: torch.Generator) -> Tensor:
    mixed = torch.randn(400, count, generator=generator) @ torch.randn(count, count).cumsum(1)
    return mixed + 3


@pytest.mark.parametrize("groups", [1, 3])
def test_outputs_change_less_than_with_the_nearest_numbers(groups: int) -> None:
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(groups, 8, 12)
    inputs = torch.stack([correlated(12, generator) for _ in range(groups)])
    scale = scaled(weight)
    steps = rounded(weight, scale, inputs.transpose(1, 2) @ inputs)
    assert torch.equal(steps, steps.round())
    assert steps.abs().max() <= LARGEST
    nearest = (weight / scale[..., None]).round()

    def off(whole: Tensor) -> float:
        made = inputs.double() @ (whole * scale[..., None] - weight).double().transpose(1, 2)
        return float(made.square().sum())

    assert off(steps) < 0.5 * off(nearest)


def test_of_white_inputs_the_nearest_numbers_are_the_best() -> None:
    torch.manual_seed(0)
    weight = torch.randn(2, 4, 6)
    steps = rounded(weight, scaled(weight), torch.eye(6).expand(2, 6, 6))
    assert torch.equal(steps, (weight / scaled(weight)[..., None]).double().round())


def test_inputs_that_are_never_there_do_no_harm() -> None:
    torch.manual_seed(0)
    weight = torch.randn(1, 4, 6)
    steps = rounded(weight, scaled(weight), torch.zeros(1, 6, 6))
    assert torch.equal(steps, (weight / scaled(weight)[..., None]).double().round())


GEOMETRIES = [
    nn.Conv2d(6, 8, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
    nn.Conv2d(6, 6, 3, groups=6),
    nn.Conv1d(6, 8, 5, stride=2, padding=2, bias=False),
]


@pytest.mark.parametrize("layer", GEOMETRIES, ids=lambda layer: type(layer).__name__)
def test_moments_are_of_what_the_weights_are_multiplied_with(layer: nn.Conv2d) -> None:
    torch.manual_seed(0)
    inputs = torch.randn(16, 6, *[9] * (layer.weight.dim() - 2))
    feed = read_feed(inputs, dynamic_batch=True)
    model = to_onnx(trace(layer.eval(), feed)).model_proto
    shapes = {value.name: tuple(value.dims) for value in model.graph.initializer}
    (moments,) = _moments(model, _layers(model, shapes), shapes, feed).values()
    moment = moments.square
    assert tuple(moment.shape[:1]) == (layer.groups,)
    weight = layer.weight.detach().flatten(1).reshape(layer.groups, -1, moment.shape[1])
    energy = torch.einsum("goi,gij,goj->go", weight, moment, weight).flatten()
    bias = 0 if layer.bias is None else layer.bias.detach().reshape(-1, *[1] * (inputs.dim() - 2))
    made = (layer(inputs).detach() - bias).transpose(0, 1).flatten(1)
    torch.testing.assert_close(energy, made.square().sum(1), rtol=1e-3, atol=1e-3)
    means = (weight.double() @ moments.mean[:, :, None]).flatten()
    torch.testing.assert_close(means, made.double().mean(1), rtol=1e-3, atol=1e-5)


def test_a_network_comes_nearer_to_itself() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, groups=2),
        nn.Flatten(),
        nn.Linear(16 * 16, 5),
    ).eval()
    inputs = F.avg_pool2d(torch.rand(200, 3, 16, 16), 2) + 1
    feed = read_feed(inputs, dynamic_batch=True)
    model = to_onnx(trace(net, feed)).model_proto
    expected = net(inputs).detach()
    errors = []
    for finely in (False, True):
        onnxruntime = pytest.importorskip("onnxruntime")
        made = quantised(model, feed, finely=finely)
        session = onnxruntime.InferenceSession(made.SerializeToString())
        (found,) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        errors.append(float((torch.from_numpy(found) - expected).square().sum()))
    assert errors[1] < 0.8 * errors[0]
