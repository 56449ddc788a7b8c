"""A compressed network is a network like any other to PyTorch's own tools."""

import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ddp import gradients, halves
from nets import tiny
from torch import Tensor, nn
from torch.ao.quantization import get_default_qconfig_mapping, quantize_dynamic
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.nn import functional as F

import tensorpress as tp
from tensorpress.layers import Factorized


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return tiny()[0]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def distance(found: Tensor, expected: Tensor) -> float:
    """``||found - expected|| / ||expected||``"""
    return float((found - expected).detach().norm() / expected.detach().norm())


def test_compile_without_graph_breaks(net: nn.Module, images: Tensor) -> None:
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    for batch in (images, images[:2]):
        torch.testing.assert_close(compiled(batch), net(batch))
    torch.testing.assert_close(gradients(compiled, images), gradients(net, images))


def test_export(net: nn.Module, images: Tensor) -> None:
    batch = torch.export.Dim("batch")
    program = torch.export.export(net, (images,), dynamic_shapes=({0: batch},))
    for size in (1, 4):
        torch.testing.assert_close(program.module()(images[:size]), net(images[:size]))


def test_deep_copies_share_nothing(net: nn.Module, images: Tensor) -> None:
    twin = copy.deepcopy(net)
    expected = net(images)
    assert torch.equal(twin(images), expected)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert torch.equal(twin(images), expected)
    assert not torch.equal(net(images), expected)


def test_pickle_keeps_method_and_ranks(net: nn.Module, images: Tensor) -> None:
    twin = pickle.loads(pickle.dumps(net))
    assert torch.equal(twin(images), net(images))
    (before,) = (m for m in net.modules() if isinstance(m, Factorized))
    (after,) = (m for m in twin.modules() if isinstance(m, Factorized))
    assert (after.method, after.ranks) == (before.method, before.ranks)
    assert before.method == "ttpwt"


def test_state_dicts_hold_weights_only(net: nn.Module, images: Tensor) -> None:
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    twin = copy.deepcopy(net)
    for parameter in twin.parameters():
        nn.init.ones_(parameter)
    assert not torch.equal(twin(images), net(images))
    twin.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(twin(images), net(images))


def test_data_parallel(net: nn.Module, images: Tensor) -> None:
    parallel = nn.DataParallel(net)
    assert torch.equal(parallel(images), net(images))
    assert {f"module.{name}" for name in net.state_dict()} == set(parallel.state_dict())


def test_distributed_data_parallel_in_two_processes(tmp_path: Path) -> None:
    script = str(Path(__file__).with_name("ddp.py"))
    started = [
        subprocess.Popen([sys.executable, script, str(rank), tmp_path / "meet", tmp_path])
        for rank in range(2)
    ]
    assert [process.wait(timeout=120) for process in started] == [0, 0]
    torch.manual_seed(0)
    net, _ = tiny()
    expected = gradients(net, torch.cat(halves()))
    for rank in range(2):
        found = torch.load(tmp_path / f"gradients-{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, expected)
    alone = gradients(net, halves()[0])
    assert any(distance(one, both) > 0.01 for one, both in zip(alone, expected, strict=True))


def test_autocast_forward_and_backward(net: nn.Module, images: Tensor) -> None:
    expected = net(images)
    reference = gradients(net, images)
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        output = net(images)
        loss = F.cross_entropy(output, torch.arange(6))
    assert output.dtype == torch.bfloat16
    loss.backward()
    assert 0 < distance(output.float(), expected) < 0.02
    for parameter, gradient in zip(net.parameters(), reference, strict=True):
        assert parameter.grad is not None
        assert parameter.grad.dtype == torch.float32
        assert distance(parameter.grad, gradient) < 0.1


@pytest.mark.filterwarnings("ignore")
def test_static_quantisation_to_int8_weights(net: nn.Module, images: Tensor) -> None:
    mapping = get_default_qconfig_mapping(torch.backends.quantized.engine)
    with torch.no_grad():
        prepared = prepare_fx(copy.deepcopy(net), mapping, (images,))
        prepared(images)
        quantised = convert_fx(prepared)
        assert 0 < distance(quantised(images), net(images)) < 0.05
    chain = quantised.get_submodule("3")
    (original,) = (m for m in net.modules() if isinstance(m, Factorized))
    for name, layer in original.named_children():
        weight = getattr(chain, name).weight()
        assert weight.dtype == torch.qint8
        assert weight.shape == layer.weight.shape
        assert distance(weight.dequantize(), layer.weight) < 0.01


@pytest.mark.filterwarnings("ignore")
def test_dynamic_quantisation_of_a_split_linear_layer(images: Tensor) -> None:
    torch.manual_seed(0)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(432, 64), nn.ReLU(), nn.Linear(64, 10)).eval()
    net = tp.compress(dense, images[:1], rank=tp.Energy(0.5), linear=True, skip_first=False).model
    assert isinstance(net[1], Factorized)
    quantised = quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    assert [layer.weight().dtype for layer in quantised[1]] == [torch.qint8] * 2
    assert 0 < distance(quantised(images), net(images)) < 0.05
