"""Images of one channel, which lie alike in both formats: kernels go by their strides."""

import pytest
import torch
from torch import Tensor, nn

from tensorpress.layers import arranged_like, channels_last, channels_second


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(8, 9), (4, 5, 6)])
def test_the_strides_are_those_of_the_format(channels: int, size: tuple[int, ...]) -> None:
    images = torch.randn(2, channels, *size)
    last = channels_last(images)
    assert torch.equal(last, images)
    assert last.stride() == _strides_of_last(images)
    second = channels_second(last)
    assert torch.equal(second, images)
    assert second.stride() == images.stride()
    assert arranged_like(images, last).stride() == last.stride()
    assert arranged_like(last, images).stride() == images.stride()
    assert (last.data_ptr() == images.data_ptr()) == (channels == 1)  # then nothing is copied


def _strides_of_last(images: Tensor) -> tuple[int, ...]:
    rows = images.movedim(1, -1).contiguous().clone(memory_format=torch.contiguous_format)
    strides = rows.stride()
    return strides[0], strides[-1], *strides[1:-1]


def test_what_has_no_such_format_stays() -> None:
    for shape in ((2, 1), (2, 1, 7)):
        tensor = torch.randn(shape)
        assert channels_last(tensor).stride() == tensor.stride()
        assert channels_second(tensor).stride() == tensor.stride()


def test_maps_after_a_convolution_of_one_channel_lie_as_its_input_does() -> None:
    """Also in a network of 1x1 and depthwise kernels, which lie alike in both formats."""
    net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    with torch.no_grad():
        images = torch.randn(2, 1, 9, 9)
        assert net(channels_last(images)).stride(1) == 1
        assert net(channels_second(channels_last(images))).stride(1) > 1


@pytest.mark.parametrize("make", [nn.Conv2d, nn.Conv3d])
def test_maps_after_a_kernel_of_one_pixel_lie_second_once_it_does(
    make: type[nn.Conv2d] | type[nn.Conv3d],
) -> None:
    dims = len(make(1, 1, 1).kernel_size)
    last = {2: torch.channels_last, 3: torch.channels_last_3d}[dims]
    layer = make(8, 16, 1)
    plain = layer.weight.stride()
    layer.to(memory_format=last)
    kernel = layer.weight.detach().clone()
    layer.weight.data = channels_second(layer.weight.data)
    assert torch.equal(layer.weight, kernel)
    assert layer.weight.stride() == plain
    with torch.no_grad():
        assert layer(torch.randn(2, 8, *[5] * dims)).stride(1) > 1
