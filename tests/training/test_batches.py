from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import tiny_data
from torch import Tensor

from tensorpress.data import Dataset, ImageFiles
from tensorpress.data.framing import Framing
from tensorpress.training import batches as batches_module
from tensorpress.training.batches import batches_of
from tensorpress.training.place import Place

CPU = Place(torch.device("cpu"))


def in_files(folder: Path) -> Dataset:
    """40 images of two sizes, whose brightness tells their number."""
    for number in range(40):
        pixels = np.full((10 + number % 2, 12), 6 * number, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    names = tuple(f"{number:02}.png" for number in range(40))
    files = ImageFiles(folder, names, torch.arange(40) % 3, (1, 8, 8), Framing(9, (8, 8)))
    return replace(tiny_data(), train=files, crop_padding=0)


def taken(data: Dataset, place: Place, size: int, first: int = 0) -> list[tuple[Tensor, Tensor]]:
    return list(batches_of(data, size, place).epoch(5, first))


@pytest.mark.parametrize("kind", ["held", "read"])
@pytest.mark.parametrize("chunk", [1, 3, 1000])
def test_an_epoch_goes_on_from_any_step(
    kind: str, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tiny_data(40) if kind == "held" else in_files(tmp_path)
    monkeypatch.setattr(batches_module, "CHUNK_BYTES", chunk * 4 * 6 * 64)
    whole = taken(data, CPU, 6)
    assert len(whole) == 6
    for first in (0, 1, 4, 6):
        rest = taken(data, CPU, 6, first)
        assert len(rest) == 6 - first
        for (images, labels), (wanted, known) in zip(rest, whole[first:], strict=True):
            assert torch.equal(images, wanted)
            assert torch.equal(labels, known)


@pytest.mark.parametrize("kind", ["held", "read"])
def test_two_processes_see_what_one_sees_with_batches_twice_as_large(
    kind: str, tmp_path: Path
) -> None:
    data = tiny_data(40) if kind == "held" else in_files(tmp_path)
    whole = taken(data, CPU, 8)
    halves = [taken(data, Place(CPU.device, rank, 2), 4) for rank in (0, 1)]
    for both, one, other in zip(whole, *halves, strict=True):
        assert torch.equal(both[0], torch.cat((one[0], other[0])))
        assert torch.equal(both[1], torch.cat((one[1], other[1])))


def test_images_come_with_their_labels_normalised(tmp_path: Path) -> None:
    data = in_files(tmp_path)
    seen = []
    for images, labels in taken(data, CPU, 10):
        assert images.shape == (10, 1, 8, 8)
        numbers = ((images.mean((1, 2, 3)) * data.std[0] + data.mean[0]) * 255 / 6).round().int()
        assert torch.equal(numbers % 3, labels)
        seen += numbers.tolist()
    assert sorted(seen) == list(range(40))
