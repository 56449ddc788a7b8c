import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tensorpress.data import augment, normalise

View = tuple[int, int, bool]


def random_images(count: int, channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (count, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def all_views(image: np.ndarray, padding: int, flip: bool) -> dict[View, np.ndarray]:
    """Every crop of one padded image (C, H, W), mirrored or not, made one by one."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    views = {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            crop = padded[:, top : top + height, left : left + width]
            views[top, left, False] = crop
            if flip:
                views[top, left, True] = crop[:, :, ::-1]
    return views


def views_taken(images: Tensor, out: Tensor, padding: int, flip: bool) -> list[View]:
    """Which view of its own image each output is; fails if it is none."""
    taken = []
    for image, augmented in zip(images.numpy(), out.numpy(), strict=True):
        views = all_views(image, padding, flip)
        matches = [view for view, crop in views.items() if np.array_equal(crop, augmented)]
        assert matches
        taken.append(matches[0])
    return taken


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 6),
    channels=st.integers(1, 4),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    padding=st.integers(0, 4),
    flip=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_each_output_is_a_crop_of_its_own_image(
    count: int, channels: int, height: int, width: int, padding: int, flip: bool, seed: int
) -> None:
    images = random_images(count, channels, height, width, seed)
    before = images.clone()
    out = augment(images, padding=padding, flip=flip, generator=seeded(seed))
    assert out.dtype == torch.uint8
    assert out.shape == images.shape
    assert out.is_contiguous()
    assert torch.equal(images, before)
    views_taken(images, out, padding, flip)


def test_offsets_and_flips_are_uniform_and_independent_between_images() -> None:
    padding, count = 2, 4000
    images = random_images(1, 1, 6, 6).expand(count, 1, 6, 6)
    out = augment(images, padding=padding, flip=True, generator=seeded(3))
    taken = np.array(views_taken(images, out, padding, flip=True))
    cells = np.ravel_multi_index(tuple(taken.T), (5, 5, 2))
    counts = np.bincount(cells, minlength=50)
    chi_square = ((counts - count / 50) ** 2 / (count / 50)).sum()
    assert chi_square < 85.4  # 49 degrees of freedom, p = 0.001
    repeats = np.mean(cells[1:] == cells[:-1])
    assert repeats == pytest.approx(1 / 50, abs=0.01)


def test_the_generator_decides_alone() -> None:
    images = random_images(64, 3, 32, 32)
    torch.manual_seed(1)
    first = augment(images, padding=4, flip=True, generator=seeded(5))
    torch.manual_seed(2)
    again = augment(images, padding=4, flip=True, generator=seeded(5))
    other = augment(images, padding=4, flip=True, generator=seeded(6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_generator_goes_on() -> None:
    images = random_images(64, 3, 32, 32)
    generator = seeded(5)
    first = augment(images, padding=4, flip=True, generator=generator)
    state = generator.get_state()
    second = augment(images, padding=4, flip=True, generator=generator)
    generator.set_state(state)
    assert not torch.equal(first, second)
    assert torch.equal(second, augment(images, padding=4, flip=True, generator=generator))


def test_neither_crop_nor_flip_changes_nothing() -> None:
    images = random_images(9, 3, 7, 5)
    assert torch.equal(augment(images, padding=0, flip=False, generator=seeded(0)), images)


def test_views_of_a_larger_set_are_augmented_like_copies() -> None:
    images = random_images(40, 3, 8, 8)[::4, :, :, 1:7]
    augmented = [
        augment(batch, padding=2, flip=True, generator=seeded(0))
        for batch in (images, images.contiguous(memory_format=torch.channels_last))
    ]
    assert torch.equal(*augmented)
    views_taken(images, augmented[0], 2, flip=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_without_waiting() -> None:
    images = random_images(64, 3, 32, 32)
    on_gpu = images.cuda()
    generator = torch.Generator("cuda").manual_seed(0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        out = augment(on_gpu, padding=4, flip=True, generator=generator)
        normalised = normalise(out, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    views_taken(images, out.cpu(), 4, flip=True)
    torch.testing.assert_close(
        normalised.cpu(), normalise(out.cpu(), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    )


def test_normalise_equals_the_formula_for_every_byte() -> None:
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(2, 3, 1, 1)
    before = images.clone()
    out = normalise(images, mean, std)
    assert out.dtype == torch.float32
    for channel in range(3):
        for value in range(256):
            expected = (value / 255 - mean[channel]) / std[channel]
            at = out[1, channel].flatten()[value].item()
            assert at == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert torch.equal(images, before)
