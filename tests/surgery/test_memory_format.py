"""Networks whose forward does not run on maps that lie channels last in memory."""

import pytest
import torch
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.data import Dataset, ImageSet
from tensorpress.surgery import (
    arrange_channels_last,
    arrange_for_training,
    runs_in_channels_last,
    trains_in_channels_last,
)
from tensorpress.training import Distillation, Recipe, Teacher, evaluate, fit

IMAGE = torch.zeros(1, 3, 8, 8)


class Flattens(nn.Module):
    """As in many a tutorial: maps to vectors by ``view``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.second = nn.Conv2d(16, 16, 3, padding=1)
        self.linear = nn.Linear(16 * 8 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.second(self.first(x).relu()).relu()
        return self.linear(maps.view(len(x), -1))


def tutorial_net() -> nn.Module:
    torch.manual_seed(0)
    return Flattens().eval()


def photos(count: int) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 3
    noise = torch.randint(90, (count, 3, 8, 8), generator=generator)
    images = ImageSet((noise + 60 * labels[:, None, None, None]).to(torch.uint8), labels)
    names = ("dark", "grey", "bright")
    return Dataset("noise", images, images, names, (0.4,) * 3, (0.3,) * 3, 1, True)


def test_whether_it_runs_is_found_out_and_nothing_is_changed_if_not():
    net = tutorial_net()
    assert not runs_in_channels_last(net, IMAGE)
    assert not arrange_channels_last(net, IMAGE)
    assert all(parameter.is_contiguous() for parameter in net.parameters())
    assert net(IMAGE).shape == (1, 3)


@pytest.mark.parametrize(
    ("conv", "shape"), [(nn.Conv2d, (4, 3, 6, 6)), (nn.Conv3d, (4, 3, 6, 6, 6))]
)
def test_kernels_lie_channels_last_and_compute_the_same(conv, shape):
    x = torch.randn(shape)
    net = nn.Sequential(conv(3, 8, 3), nn.ReLU(), conv(8, 8, 3)).eval()
    expected = net(x)
    assert arrange_channels_last(net, x)
    assert net[2].weight.stride(1) == 1
    torch.testing.assert_close(net(x), expected)


def test_it_is_trained_distilled_and_evaluated():
    net, data = tutorial_net(), photos(48)
    for _ in fit(net, data, Recipe(8, lr=0.01, batch_size=16)):
        pass
    assert evaluate(net, data).percent > 80
    student = tp.compress(net, IMAGE, rank=tp.Energy(0.6)).model
    teacher = Teacher(net, Distillation(layers=1.0), data.input_shape)
    for _ in fit(student, data, Recipe(3, lr=0.001, batch_size=16), teacher=teacher):
        pass
    assert evaluate(student, data).percent > 80


def test_it_is_calibrated():
    net = tutorial_net()
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    found = tp.compress(net, IMAGE, rank=tp.Energy(0.6), calibration=images, progress=False)
    with torch.no_grad():
        assert found.model(images).shape == (64, 3)


def test_it_is_planned():
    net = tutorial_net()
    small = tp.compress(net, IMAGE, rank=tp.Energy(0.6)).model
    x = torch.randn(4, 3, 8, 8)
    planned = tp.plan(small, x, runtime="torch", progress=False)
    with torch.no_grad():
        torch.testing.assert_close(planned(x), small(x), rtol=1e-4, atol=1e-5)


def strided(channels: int) -> nn.Sequential:
    """Its second convolution is one of a pixel, with a stride, as shortcuts have it."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, padding=1),
        nn.Conv2d(channels, 48, 1, stride=2),
        nn.ReLU(),
        nn.Conv2d(48, 32, 3, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(32, 3),
    ).eval()


def test_what_cannot_be_trained_so_lies_as_ever():
    """Its gradients were written past their memory, which ended the process."""
    net = strided(4)
    arrange_channels_last(net, IMAGE)
    assert not trains_in_channels_last(net)
    assert not arrange_for_training(net, IMAGE)
    assert net[3].weight.is_contiguous()
    assert trains_in_channels_last(strided(16))
    assert arrange_for_training(strided(16), IMAGE)
    for _ in fit(net, photos(32), Recipe(2, lr=0.01, batch_size=16)):
        assert net[3].weight.is_contiguous()


@pytest.mark.parametrize("channels", [4, 16])
def test_narrow_strided_convolutions_are_distilled(channels):
    net = strided(channels)
    images = torch.randn(32, 3, 64, 64).to(memory_format=torch.channels_last)
    made = tp.compress(
        net,
        images[:1],
        budget=tp.Budget(macs=1.3),
        methods=("spatial-svd", "ttpwt"),
        calibration=images,
        recover=tp.Recovery(distil_epochs=1),
        progress=False,
    )
    assert made.fcr >= 1.3
    assert all(torch.isfinite(parameter).all() for parameter in made.model.parameters())


@pytest.mark.parametrize("first", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("kernel", [1, 3])
def test_no_map_lies_channels_last_before_a_strided_kernel_of_one_pixel(
    first: type[nn.Conv2d] | type[nn.ConvTranspose2d], kernel: int
) -> None:
    """oneDNN would write past its memory."""
    net = nn.Sequential(first(3, 4, kernel), nn.Conv2d(4, 8, 1, stride=2), nn.Conv2d(8, 4, 1))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(2, 3, 9, 9)
    with torch.no_grad():
        expected = net(images)
        assert net[0](images).stride(1) == 1
    assert not arrange_for_training(net, images[:1])
    seen: list[int] = []

    def look(_module: nn.Module, given: tuple[Tensor], answer: Tensor) -> None:
        seen.extend((given[0].stride(1), answer.stride(1)))

    for layer in net:
        layer.register_forward_hook(look)
    torch.testing.assert_close(net(images), expected)
    assert len(seen) == 6
    assert min(seen) > 1
