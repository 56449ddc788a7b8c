"""Calibration images in whichever form they are given."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from tensorpress.errors import TensorpressError
from tensorpress.pixels import normalise
from tensorpress.rows import given_images, read_images

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
COUNT = 40


def pixels(channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(256, (COUNT, channels, 6, 8), generator=generator, dtype=torch.uint8)


def pictures(channels: int = 3) -> list[Image.Image]:
    arrays = pixels(channels).movedim(1, -1).numpy()
    return [Image.fromarray(array[..., 0] if channels == 1 else array) for array in arrays]


class Indexed(Dataset[Any]):
    """A data set that answers to any number, and so never ends for one who only asks on."""

    def __init__(self, entries: list[Any]) -> None:
        self.entries = entries

    def __getitem__(self, index: int) -> Any:
        return self.entries[index % len(self.entries)]

    def __len__(self) -> int:
        return len(self.entries)


class OfRows:
    """As Hugging Face has it: indexed and iterable, a mapping for each row."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([(image, 3) for image in pixels()])


class Sample(NamedTuple):
    image: Tensor
    mask: Tensor


FORMS: dict[str, Callable[[], Any]] = {
    "a tensor": pixels,
    "an array": lambda: pixels().numpy(),
    "an array with channels last": lambda: pixels().movedim(1, -1).numpy(),
    "single images": lambda: list(pixels()),
    "single arrays": lambda: list(pixels().movedim(1, -1).numpy()),
    "pictures": pictures,
    "pictures in colour modes": lambda: [image.convert("RGBA") for image in pictures()],
    "a generator of pairs": lambda: ((image, number) for number, image in enumerate(pixels())),
    "labels first": lambda: [(torch.tensor(2), image) for image in pixels()],
    "named tuples": lambda: [Sample(image, image[0]) for image in pixels()],
    "a data set": lambda: TensorDataset(pixels(), torch.zeros(COUNT)),
    "a data set without an end": lambda: Indexed([(image, 1) for image in pixels()]),
    "a data set that streams": Stream,
    "a loader": lambda: DataLoader(TensorDataset(pixels(), torch.zeros(COUNT)), batch_size=7),
    "a loader of mappings": lambda: DataLoader(
        Indexed([{"label": 1, "pixel_values": image} for image in pixels()]), batch_size=16
    ),
    "rows": lambda: OfRows([{"label": 1, "mask": p.convert("L"), "image": p} for p in pictures()]),
    "rows with names of one's own": lambda: OfRows([{"y": 1, "photo": p} for p in pictures()]),
    "one mapping": lambda: {"labels": torch.zeros(COUNT), "pixel_values": pixels()},
    "nested": lambda: [((image,), {"boxes": torch.zeros(4)}) for image in pixels()],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_the_same_images(form: str) -> None:
    example = torch.zeros(1, 3, 6, 8)
    found = read_images(FORMS[form](), example=example, mean=MEAN, std=STD)
    wanted = normalise(pixels(), MEAN, STD)
    assert found.dtype == torch.float32
    assert sorted(found.flatten(1).tolist()) == sorted(wanted.flatten(1).tolist())


@pytest.mark.parametrize(
    "grey",
    [
        lambda: pixels(1),
        lambda: pixels(1)[:, 0],
        lambda: pixels(1)[:, 0].numpy(),
        lambda: list(pixels(1)[:, 0].numpy()),
        lambda: pictures(1),
        lambda: [(image, 0) for image in pixels(1)],
    ],
)
def test_grey_images_with_or_without_an_axis_for_it(grey: Callable[[], Any]) -> None:
    example = {"x": torch.zeros(2, 1, 6, 8)}
    found = read_images(grey(), example=example, mean=(0.5,), std=(0.2,))
    assert torch.equal(found, normalise(pixels(1), (0.5,), (0.2,)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(5,), (2, 7), (3, 6, 8), (2, 4, 5, 6)])
def test_values_as_the_network_takes_them_stay(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = torch.randn(COUNT, *shape, dtype=dtype)
    example = torch.zeros(1, *shape)
    for given in (values, values.numpy(), list(values), DataLoader(TensorDataset(values), 9)):
        assert torch.equal(read_images(given, example=example), values)


def test_of_a_large_data_set_some_are_drawn_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(given_images, "MOST_DRAWN", 20)
    values = torch.arange(100.0).view(100, 1, 1, 1).expand(-1, 3, 6, 8)
    example = torch.zeros(1, 3, 6, 8)
    found = [read_images(TensorDataset(values), example=example)[:, 0, 0, 0] for _ in range(2)]
    assert torch.equal(*found)
    assert len(set(found[0].tolist())) == 20
    assert found[0].max() > 60  # not the first ones, which may all be of one class
    assert "20 of 100 images are drawn" in capsys.readouterr().err


def test_a_loader_that_never_ends_is_read_until_memory_is_full(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(given_images, "MOST_BYTES", 32 * 4 * 3 * 6 * 8)
    batches = itertools.repeat(torch.randn(10, 3, 6, 8))
    assert len(read_images(batches, example=torch.zeros(1, 3, 6, 8))) == 40
    assert "the first 40 images are read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.array(["a"] * 20), "array of <U1: give numbers"),
        ([{"label": 3}] * 20, "a calibration batch is {'label': 3}, of type dict"),
        (Indexed([3.0] * 20), "a calibration batch is 3.0, of type float"),
        ([*pictures()[:16], Image.new("RGB", (9, 9))], "differ in size"),
    ],
)
def test_what_holds_no_images(given: Any, message: str) -> None:
    with pytest.raises(TensorpressError, match=message) as caught:
        read_images(given, example=torch.zeros(1, 3, 6, 8), mean=MEAN, std=STD)
    assert "\n" not in str(caught.value)


def test_errors_of_a_data_set_are_its_own() -> None:
    class Faulty(Indexed):
        def __getitem__(self, index: int) -> Any:
            raise TypeError(f"image {index} of mine")

    with pytest.raises(TypeError, match="of mine"):
        read_images(Faulty([1] * 20))
