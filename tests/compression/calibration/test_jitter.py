"""Images are shifted as the network was trained: with borders of black, or of 0."""

import numpy as np
import pytest
import torch
from torch import nn

from tensorpress.compression.calibration.jitter import Jitter, jitter_of

BORDERS = {"zero": 0.0, "black": -1.5}


def images(count: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (2 * torch.rand(count, 2, 16, 16, generator=generator)).clamp(0.01) - 1.5


def padded(given: torch.Tensor, border: float) -> torch.Tensor:
    """Shifted down and right by two, by numpy."""
    wide = np.pad(given.numpy(), ((0, 0), (0, 0), (2, 0), (2, 0)), constant_values=border)
    return torch.from_numpy(wide[:, :, :16, :16])


@pytest.mark.parametrize("dead", [False, True])
@pytest.mark.parametrize("border", BORDERS)
def test_the_border_that_batch_norms_remember(border: str, dead: bool) -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8, momentum=None)
    net = nn.Sequential(conv, norm, nn.ReLU())
    net.train()(padded(images(), BORDERS[border]))
    if dead:
        conv.weight.data[3] *= 1e-5
        norm.get_buffer("running_var")[3] = 5e-45
    found = jitter_of(net.eval(), [images()], seed=0)
    expected = images().amin((0, 2, 3)) if border == "black" else torch.zeros(2)
    torch.testing.assert_close(found.border, expected)


def test_without_batch_norms_or_where_zero_is_the_least_it_is_zero() -> None:
    assert not jitter_of(nn.Conv2d(2, 8, 3), [images()], seed=0).border.any()
    positive = (images() + 1.5).clamp(min=0.5) - 0.5
    assert not jitter_of(nn.BatchNorm2d(2), [positive], seed=0).border.any()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_each_image_is_flipped_or_not_and_shifted_by_up_to_an_eighth(
    memory_format: torch.memory_format,
) -> None:
    given = images().contiguous(memory_format=memory_format)
    border = (-1.0, -2.0)
    seen = Jitter(torch.tensor(border))(given, torch.Generator().manual_seed(3))
    assert seen.is_contiguous(memory_format=memory_format)
    wide = np.stack(
        [
            np.pad(given[:, channel].numpy(), ((0, 0), (2, 2), (2, 2)), constant_values=value)
            for channel, value in enumerate(border)
        ],
        axis=1,
    )
    draws = set()
    for number, image in enumerate(seen.numpy()):
        fits = [
            (flip, down, right)
            for flip in (1, -1)
            for down in range(5)
            for right in range(5)
            if np.allclose(
                wide[number][:, :, ::flip][:, down : down + 16, right : right + 16],
                image,
                atol=1e-6,
            )
        ]
        assert len(fits) == 1
        draws |= set(fits)
    assert len(draws) > 20


@pytest.mark.parametrize("shape", [(4, 7), (4, 3, 50), (4, 3, 6, 20)])
def test_what_is_no_image_stays(shape: tuple[int, ...]) -> None:
    given = torch.randn(shape)
    jitter = jitter_of(nn.BatchNorm1d(3), [given], seed=0)
    assert jitter(given, torch.Generator()) is given
