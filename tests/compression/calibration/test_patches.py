from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tensorpress.compression.calibration.patches import Sampler
from tensorpress.layers import shifted_kernels


def dilated_afterwards() -> nn.Module:
    """As libraries of segmentation turn strides of a backbone into dilations."""
    conv = nn.Conv2d(3, 5, 3, stride=2, padding=1)
    conv.stride, conv.padding, conv.dilation = (1, 1), (2, 2), (2, 2)
    return conv


def of_each(layer: Any, places: int, x: Tensor, seed: int = 3) -> Sampler:
    """So many places of each image."""
    return Sampler(layer, places * len(x), Sampler(layer, 0, 0, 0).places_in(x), seed)


CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "strides, dilation, groups, reflect": (
        nn.Conv2d(6, 8, (3, 5), (2, 1), (1, 2), (2, 1), groups=2, padding_mode="reflect"),
        (6, 14, 15),
    ),
    "circular": (nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"), (4, 9, 8)),
    "same": (nn.Conv1d(4, 6, 3, padding="same", dilation=2), (4, 20)),
    "even and same": (nn.Conv2d(3, 5, (2, 4), padding="same"), (3, 9, 9)),
    "valid": (nn.Conv2d(3, 5, 3, padding="valid"), (3, 9, 9)),
    "dilated afterwards": (dilated_afterwards(), (3, 9, 9)),
    "3-D": (nn.Conv3d(2, 4, (1, 3, 2), stride=2, padding=(0, 1, 1)), (2, 7, 9, 9)),
    "pointwise": (nn.Conv2d(5, 7, 1, stride=2), (5, 8, 8)),
    "linear": (nn.Linear(5, 7), (5,)),
    "linear on sequences": (nn.Linear(5, 7), (6, 5)),
}


@pytest.mark.parametrize(("layer", "shape"), CASES.values(), ids=CASES)
def test_kernels_times_patches_are_the_output(layer: nn.Module, shape: tuple[int, ...]) -> None:
    layer = layer.double()
    x = torch.randn(5, *shape, dtype=torch.float64)
    sampler = of_each(layer, 11, x)
    patches, outputs = sampler.patches(x), sampler.outputs(layer(x).detach(), x)
    kernels = shifted_kernels(layer)  # type: ignore[arg-type]
    channels = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    places = layer(x).numel() // (5 * channels)  # type: ignore[operator]
    assert patches.shape == (len(kernels), 5 * min(11, places), kernels.shape[1])
    made = patches @ kernels + layer.bias.detach().reshape(len(kernels), 1, -1)
    torch.testing.assert_close(made, outputs)


UPWARDS: dict[str, tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = {
    "as it is": (nn.ConvTranspose2d(4, 6, 3, 2, 1, 1), (4, 5, 6), (10, 12)),
    "more than its own": (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 6), (12, 13)),
    "less than its own": (nn.ConvTranspose2d(4, 6, 3, 3, output_padding=2), (4, 5, 6), (15, 19)),
    "dilated": (nn.ConvTranspose1d(4, 6, 3, 2, dilation=2, padding=1), (4, 7), (16,)),
}


@pytest.mark.parametrize(("layer", "shape", "size"), UPWARDS.values(), ids=UPWARDS)
@pytest.mark.parametrize("places", [7, 10_000])
def test_a_transposed_convolution_may_be_asked_for_a_size(
    layer: Any, shape: tuple[int, ...], size: tuple[int, ...], places: int
) -> None:
    layer = layer.double()
    x = torch.randn(3, *shape, dtype=torch.float64)
    y = layer(x, output_size=size).detach()
    assert tuple(y.shape[2:]) == size
    sampler = of_each(layer, places, x)
    kernels = shifted_kernels(layer)
    made = sampler.patches(x) @ kernels + layer.bias.detach().reshape(len(kernels), 1, -1)
    torch.testing.assert_close(made, sampler.outputs(y, x))


def test_a_small_map_is_taken_place_by_place() -> None:
    """Not at random, which would take some of its few places many times."""
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 5, 6)
    patches = of_each(conv, 100, x, seed=0).patches(x)
    seen = nn.functional.unfold(x, 3).transpose(1, 2).flatten(0, 1)
    assert patches.shape == (1, *seen.shape)
    torch.testing.assert_close(patches[0].sort(1).values, seen.sort(1).values)


def test_the_same_places_every_time_and_others_with_another_seed() -> None:
    conv = nn.Conv2d(3, 4, 3)
    x: Tensor = torch.randn(4, 3, 12, 12)
    first, again, other = (of_each(conv, 9, x, seed).patches(x) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


CALLS: dict[str, tuple[nn.Module, list[tuple[int, ...]]]] = {
    "windows of a map": (nn.Conv2d(3, 4, 3, padding=1), [(6 * 4, 3, 8, 8)]),
    "more windows than places": (nn.Conv2d(3, 4, 3, padding=1), [(6 * 50, 3, 8, 8)]),
    "tokens of windows": (nn.Linear(3, 4), [(6 * 4, 49, 3)]),
    "sequences, images second": (nn.Linear(3, 4), [(49, 6, 3)]),
    "rows without images": (nn.Linear(3, 4), [(6 * 49, 3)]),
    "images folded away": (nn.Conv2d(3, 4, 3, padding=1), [(1, 3, 32, 32)]),
    "levels": (nn.Conv2d(3, 4, 3, padding=1), [(6, 3, 16, 16), (6, 3, 8, 8), (6, 3, 4, 4)]),
    "one by one": (nn.Conv2d(3, 4, 3, padding=1), [(1, 3, 16, 16)] * 6),
    "none in one call": (nn.Conv2d(3, 4, 3, padding=1), [(6, 3, 16, 16), (0, 3, 16, 16)]),
    "no tokens in one call": (nn.Linear(3, 4), [(6, 0, 3), (6, 49, 3)]),
}


@pytest.mark.parametrize(("layer", "shapes"), CALLS.values(), ids=CALLS)
def test_of_all_calls_together_as_many_are_taken_as_are_wanted(
    layer: Any, shapes: list[tuple[int, ...]]
) -> None:
    layer = layer.double()
    calls = [torch.randn(shape, dtype=torch.float64) for shape in shapes]
    there = sum(Sampler(layer, 0, 0, 0).places_in(x) for x in calls)
    assert there == sum(layer(x).numel() for x in calls) // 4
    sampler = Sampler(layer, 120, there, seed=3)
    count = 0
    for x in calls:
        patches, outputs = sampler.patches(x), sampler.outputs(layer(x).detach(), x)
        if len(patches[0]):
            assert len(patches[0].unique(dim=0)) > len(patches[0]) / 2  # spread over what there is
        made = patches @ shifted_kernels(layer) + layer.bias.detach()
        torch.testing.assert_close(made, outputs)
        count += patches.shape[1]
    assert 120 <= count <= 120 * 1.3


def test_a_vector_is_one_place() -> None:
    layer, x = nn.Linear(5, 7), torch.randn(5)
    sampler = Sampler(layer, 16, 1, seed=0)
    assert torch.equal(sampler.patches(x), x.reshape(1, 1, 5))
    assert torch.equal(sampler.outputs(layer(x), x), layer(x).reshape(1, 1, 7))
