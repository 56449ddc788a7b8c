from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tensorpress.data import load_data, load_unlabelled, normalise, unlabelled_of
from tensorpress.data.image_folder import load_flat_images
from tensorpress.errors import TensorpressError


def write(file: Path, seed: int = 0, *, size: tuple[int, ...] = (9, 12, 3)) -> np.ndarray:
    """A random image, (height, width) or (height, width, 3)."""
    pixels = np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return pixels


def write_many(folder: Path, count: int) -> list[np.ndarray]:
    return [write(folder / f"{number:03}.png", number) for number in range(count)]


def multiset(images: torch.Tensor) -> list[Any]:
    return sorted(images.flatten(1).tolist())


def wanted(pixels: list[np.ndarray], mean: Any, std: Any) -> torch.Tensor:
    stacked = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return normalise(stacked, mean, std)


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("place", [".", "some/where/below", "train", "train/ant"])
def test_images_anywhere_in_a_folder(place: str, tmp_path: Path) -> None:
    pixels = write_many(tmp_path / place, 5)
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"no image")
    images = load_unlabelled(tmp_path, most=100)
    assert images.dtype == torch.float32
    assert images.shape == (5, 3, 9, 12)
    assert multiset(images) == multiset(wanted(pixels, *IMAGENET))


def test_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_many(tmp_path, 3)
    monkeypatch.chdir(tmp_path)
    assert len(load_unlabelled(".", most=10)) == 3
    (tmp_path / "digits").mkdir()
    assert load_unlabelled("digits", most=10).shape == (10, 1, 8, 8)  # the data of that name


def test_mean_and_std_are_taken(tmp_path: Path) -> None:
    pixels = write_many(tmp_path, 3)
    told = ((0.1, 0.2, 0.3), (1.0, 2.0, 3.0))
    images = load_unlabelled(tmp_path, most=10, mean=told[0], std=told[1])
    assert multiset(images) == multiset(wanted(pixels, *told))
    with pytest.raises(TensorpressError, match="mean has 2 values"):
        load_unlabelled(tmp_path, most=10, mean=(0.5, 0.5))


def test_as_many_as_are_asked_for_and_the_others_are_not_read(tmp_path: Path) -> None:
    write_many(tmp_path, 40)
    one, same, other = (load_unlabelled(tmp_path, most=8, seed=seed) for seed in (1, 1, 2))
    assert len(one) == 8
    assert torch.equal(one, same)
    assert multiset(one) != multiset(other)
    everything = multiset(load_unlabelled(tmp_path, most=40))
    assert all(image in everything for image in multiset(one))
    assert len({tuple(image) for image in multiset(one)}) == 8
    drawn = multiset(load_flat_images(tmp_path, 8, 1).train.images)
    for file in tmp_path.iterdir():
        with Image.open(file) as opened:
            pixels = np.asarray(opened).transpose(2, 0, 1).ravel().tolist()
        if pixels not in drawn:
            file.write_bytes(b"broken")
    assert torch.equal(load_unlabelled(tmp_path, most=8, seed=1), one)


def test_grey_images(tmp_path: Path) -> None:
    pixels = [write(tmp_path / f"{n}.png", n, size=(9, 12)) for n in range(3)]
    data = load_flat_images(tmp_path)
    assert data.input_shape == (1, 9, 12)
    assert (data.mean, data.std) == ((0.5,), (0.5,))
    assert (len(data.train), len(data.test), data.num_classes) == (3, 0, 1)
    assert np.array_equal(data.train.images[:, 0].numpy(), np.stack(pixels))
    write(tmp_path / "colour.png")
    mixed = load_flat_images(tmp_path).train.images
    assert mixed.shape == (4, 3, 9, 12)
    assert np.array_equal(mixed[0, 2].numpy(), pixels[0])


def test_of_data_with_classes_the_training_images_are_taken(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for number, name in enumerate(("ant", "bee")):
            for image in range(count):
                write(tmp_path / part / name / f"{image}.png", 10 * number + image)
    data = load_data(tmp_path)
    images = load_unlabelled(tmp_path, most=100)
    assert multiset(images) == multiset(normalise(data.train.images, data.mean, data.std))
    assert torch.equal(images, unlabelled_of(data, most=100))
    assert torch.equal(images[:4], unlabelled_of(data, most=4))


MISTAKES: dict[str, tuple[str, str]] = {
    "empty": ("empty", "empty holds no images: looked for files that end in .png"),
    "none": ("gone", "no folder 'gone', and no data of that name"),
    "a file": ("sizes/a.png", "a.png is a file, not a folder"),
    "sizes": ("sizes", "sizes/b.png is 5x4, but sizes/a.png is 12x9: bring all images to one"),
    "broken": ("broken", "broken/a.png cannot be read as an image"),
}


@pytest.mark.parametrize(("source", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(
    source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty", "below").mkdir(parents=True)
    write(Path("sizes", "a.png"))
    write(Path("sizes", "b.png"), size=(4, 5, 3))
    Path("broken").mkdir()
    Path("broken", "a.png").write_bytes(b"no image")
    with pytest.raises(TensorpressError) as caught:
        load_unlabelled(source, most=10)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
