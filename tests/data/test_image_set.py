from dataclasses import replace

import pytest
import torch

from tensorpress.data import Dataset, ImageSet
from tensorpress.errors import TensorpressError


def numbered(count: int) -> ImageSet:
    """Images that carry their own number in their first pixel."""
    images = torch.zeros(count, 2, 3, 4, dtype=torch.uint8)
    images[:, 0, 0, 0] = torch.arange(count)
    return ImageSet(images, torch.arange(count) % 3)


@pytest.fixture
def data() -> Dataset:
    return Dataset(
        "own", numbered(50), numbered(9), ("a", "b", "c"), (0.1, 0.2), (0.3, 0.4), 1, False
    )


def numbers(images: ImageSet) -> list[int]:
    return images.images[:, 0, 0, 0].tolist()


def test_shape_and_classes(data: Dataset) -> None:
    assert data.input_shape == (2, 3, 4)
    assert data.num_classes == 3
    assert (len(data.train), len(data.test)) == (50, 9)


def test_subset_by_number_and_by_mask() -> None:
    whole = numbered(6)
    assert numbers(whole.subset(torch.tensor([4, 1]))) == [4, 1]
    picked = whole.subset(whole.labels == 2)
    assert numbers(picked) == [2, 5]
    assert picked.labels.tolist() == [2, 2]


def test_to_keeps_what_is_there() -> None:
    whole = numbered(6)
    assert whole.to("cpu").images.data_ptr() == whole.images.data_ptr()


def test_hold_back_parts_the_training_images(data: Dataset) -> None:
    held = data.hold_back(20, seed=4)
    assert (len(held.train), len(held.test)) == (30, 20)
    assert sorted(numbers(held.train) + numbers(held.test)) == list(range(50))
    assert all(
        n % 3 == label for n, label in zip(numbers(held.test), held.test.labels, strict=True)
    )
    assert numbers(held.test) == numbers(data.hold_back(20, seed=4).test)
    assert numbers(held.test) != numbers(data.hold_back(20, seed=5).test)
    assert held.classes == data.classes


@pytest.mark.parametrize("count", [-1, 0, 50, 51])
def test_hold_back_keeps_something_on_both_sides(data: Dataset, count: int) -> None:
    with pytest.raises(TensorpressError, match=f"cannot hold back {count} of the 50 "):
        data.hold_back(count)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": (0.5,)}, "mean has 1 value, but the images of own have 2 channels"),
        ({"std": (0.5, 0.5, 0.5)}, "std has 3 values, but the images of own have 2 channels"),
        ({"std": (0.5, 0.0)}, "std must be above 0, got 0.5, 0"),
        ({"std": (-1.0, 0.5)}, "std must be above 0, got -1, 0.5"),
        ({"mean": (float("nan"), 0.5)}, "mean must be finite numbers, got nan, 0.5"),
        ({"std": (0.5, float("inf"))}, "std must be finite numbers, got 0.5, inf"),
        ({"mean": (127.5, 0.5)}, "mean is of pixels in 0 .. 1, and 127.5, 0.5 cannot be"),
        ({"mean": (123.675, 116.28)}, "pixels in 0 .. 255, give 0.485, 0.456"),
        ({"mean": (0.5, -0.1)}, "mean is of pixels in 0 .. 1, and 0.5, -0.1 cannot be"),
        ({"std": (58.395, 57.12)}, "pixels in 0 .. 255, give 0.229, 0.224"),
    ],
)
def test_mean_and_std_have_to_fit(
    data: Dataset, changes: dict[str, tuple[float, ...]], message: str
) -> None:
    with pytest.raises(TensorpressError) as caught:
        replace(data, **changes)
    assert message in str(caught.value)
