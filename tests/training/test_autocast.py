import pytest
import torch
from torch import nn
from torch.nn import functional

from tensorpress.training.autocast import autocast_to_bf16

CPU = torch.device("cpu")
SLOW_IN_BF16 = {
    "strided": (nn.Conv2d(8, 8, 3, stride=2, groups=8), (2, 8, 9, 9)),
    "strided along one axis": (nn.Conv2d(8, 8, (1, 3), stride=(1, 2), groups=8), (2, 8, 9, 9)),
    "two channels a group": (nn.Conv2d(8, 8, 3, stride=2, groups=4), (2, 8, 9, 9)),
    "dilated": (nn.Conv2d(8, 8, 3, dilation=2, groups=8), (2, 8, 9, 9)),
    "large": (nn.Conv2d(8, 8, 5, groups=8), (2, 8, 9, 9)),
    "same": (nn.Conv2d(8, 8, 3, dilation=2, padding="same", groups=8), (2, 8, 9, 9)),
    "one axis": (nn.Conv1d(8, 8, 3, stride=2, groups=8), (2, 8, 9)),
    "three axes": (nn.Conv3d(4, 4, 3, groups=4), (2, 4, 5, 5, 5)),
    "transposed": (nn.ConvTranspose2d(8, 8, 2, stride=2, groups=8), (2, 8, 5, 5)),
}
FAST_IN_BF16 = {
    "depthwise": (nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 9, 9)),
    "factors of a kernel": (nn.Conv2d(8, 8, (3, 1), groups=8), (2, 8, 9, 9)),
    "one group": (nn.Conv2d(1, 1, 3, stride=2), (2, 1, 9, 9)),
    "dense": (nn.Conv2d(8, 8, 3, stride=2), (2, 8, 9, 9)),
    "wide groups": (nn.Conv2d(8, 8, 3, stride=2, groups=2), (2, 8, 9, 9)),
    "transposed": (nn.ConvTranspose2d(8, 8, 2, stride=2), (2, 8, 5, 5)),
    "linear": (nn.Linear(8, 4), (2, 8)),
}


def images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).bfloat16()


@pytest.mark.parametrize(("layer", "shape"), SLOW_IN_BF16.values(), ids=SLOW_IN_BF16)
def test_convolutions_that_are_slow_in_bf16_compute_in_float32(layer, shape):
    given = images(shape)
    with autocast_to_bf16(CPU):
        answer = layer(given)
    assert answer.dtype == torch.bfloat16
    assert torch.equal(answer, layer(given.float()).bfloat16())
    layer.zero_grad()
    answer.backward(torch.ones_like(answer))
    found = layer.weight.grad.clone()
    layer.zero_grad()
    layer(given.float()).sum().backward()
    assert torch.equal(found, layer.weight.grad)


@pytest.mark.parametrize(("layer", "shape"), FAST_IN_BF16.values(), ids=FAST_IN_BF16)
def test_all_other_layers_compute_as_autocast_has_them(layer, shape):
    given = images(shape)
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False):
        wanted = layer(given)
    with autocast_to_bf16(CPU):
        answer = layer(given)
    assert answer.dtype == torch.bfloat16
    assert torch.equal(answer, wanted)
    assert not torch.equal(answer, layer(given.float()).bfloat16())


def test_functions_count_as_layers_do():
    layer, shape = SLOW_IN_BF16["strided"]
    given = images(shape)
    with autocast_to_bf16(CPU):
        by_name = functional.conv2d(input=given, weight=layer.weight, stride=2, groups=8)
        by_place = functional.conv2d(given, layer.weight, None, (2, 2), 0, 1, 8)
    wanted = functional.conv2d(given.float(), layer.weight, stride=2, groups=8).bfloat16()
    assert torch.equal(by_name, wanted)
    assert torch.equal(by_place, wanted)


def test_a_compiled_pass_computes_them_so_too():
    layer, shape = SLOW_IN_BF16["strided"]
    given = images(shape)
    torch.compiler.reset()
    passed = torch.compile(lambda images: layer(images), backend="aot_eager", fullgraph=True)
    with autocast_to_bf16(CPU):
        answer = passed(given)
    assert torch.equal(answer, layer(given.float()).bfloat16())


def test_nothing_stays_behind():
    layer, shape = SLOW_IN_BF16["strided"]
    with autocast_to_bf16(CPU):
        pass
    assert layer(images(shape).float()).dtype == torch.float32
