from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tensorpress.data import ImageFiles, Wanted, load_data, load_unlabelled, normalise
from tensorpress.data import image_folder as image_folder_module
from tensorpress.data.framing import Framing
from tensorpress.errors import TensorpressError

CLASSES = ("ant", "bee")


def write(file: Path, seed: int, size: tuple[int, int]) -> np.ndarray:
    file.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return pixels


def write_set(folder: Path, test: str = "test", count: int = 6) -> None:
    """Images whose sizes differ."""
    for part in ("train", test):
        for label, name in enumerate(CLASSES):
            for number in range(count):
                seed = 100 * label + number + 50 * (part == test)
                write(folder / part / name / f"{number:03}.png", seed, (20 + number, 30 - label))


def expected(folder: Path, framing: Framing) -> torch.Tensor:
    images = []
    for file in sorted(folder.rglob("*.png")):
        with Image.open(file) as opened:
            images.append(np.asarray(framing.apply(opened)).transpose(2, 0, 1))
    return torch.from_numpy(np.stack(images))


@pytest.mark.parametrize("test", ["test", "val"])
@pytest.mark.parametrize(
    ("asked", "framing"),
    [
        ({"resize": 18, "crop": 16}, Framing(18, (16, 16))),
        ({"crop": 14, "interpolation": "bicubic"}, Framing(16, (14, 14), "bicubic")),
        ({"shape": (3, 14, 14)}, Framing(16, (14, 14))),
        ({"shape": (3, 12, 10), "resize": 15}, Framing(15, (12, 10))),
    ],
)
def test_folders_of_many_sizes_are_framed(
    test: str, asked: dict[str, Any], framing: Framing, tmp_path: Path
) -> None:
    write_set(tmp_path, test)
    data = load_data(tmp_path, wanted=Wanted.of(**asked))
    assert data.framing == framing
    assert data.input_shape == (3, *framing.crop)
    assert data.classes == CLASSES
    assert (data.crop_padding, data.flip) == (0, True)
    held = data.test.held()
    assert torch.equal(held.images, expected(tmp_path / test, framing))
    assert held.labels.tolist() == [0] * 6 + [1] * 6
    found = load_unlabelled(tmp_path / "train", most=100, wanted=Wanted.of(**asked))
    wanted = normalise(expected(tmp_path / "train", framing), data.mean, data.std)
    assert sorted(found.flatten(1).tolist()) == sorted(wanted.flatten(1).tolist())


def test_images_of_the_wanted_size_are_taken_as_they_are(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for name in CLASSES:
            write(tmp_path / part / name / "1.png", 0, (14, 12))
    as_they_are = load_data(tmp_path)
    assert as_they_are.framing is None
    wanted = load_data(tmp_path, wanted=Wanted((3, 12, 14)))
    assert torch.equal(wanted.train.held().images, as_they_are.train.held().images)
    assert wanted.train.fingerprint() == as_they_are.train.fingerprint()
    grey = load_data(tmp_path, wanted=Wanted((1, 12, 14)))
    assert grey.input_shape == (1, 12, 14)
    assert load_data(tmp_path, wanted=Wanted.of(crop=12, resize=12)).framing == Framing(
        12, (12, 12)
    )


def test_what_is_usual_and_what_is_done_where_sizes_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    framing, other = Framing(9, (8, 8)), Framing(12, (11, 9))
    write_set(tmp_path / "many")
    assert load_data(tmp_path / "many", wanted=Wanted(fallback=framing)).framing == framing
    assert "images are brought to the network's size: resize 9, crop 8" in capsys.readouterr().err
    for part in ("train", "test"):
        write(tmp_path / "one" / part / "ant" / "1.png", 0, (14, 12))
    assert load_data(tmp_path / "one", wanted=Wanted(fallback=framing)).framing is None
    assert load_data(tmp_path / "one", wanted=Wanted(usual=framing)).framing == framing
    assert load_data(tmp_path / "one", wanted=Wanted((3, 12, 14), usual=framing)).framing is None
    asked = Wanted(framing=other, usual=framing)
    assert load_data(tmp_path / "one", wanted=asked).framing == other
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("source", "asked", "message"),
    [
        (".", {}, r"000.png is 20x30, but .*resize=256, crop=224"),
        (
            ".",
            {"shape": (4, 8, 8)},
            "images, of 1 or 3 channels, and the network takes 4,8,8",
        ),
        (".", {"shape": (128,)}, "the network takes 128"),
        ("digits", {"crop": 8}, "digits holds images of one size as records"),
    ],
)
def test_mistakes(
    source: str,
    asked: dict[str, Any],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_set(tmp_path)
    write(tmp_path / "train" / "ant" / "0.png", 0, (3, 3))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TensorpressError, match=message) as caught:
        load_data(source, wanted=Wanted.of(**asked))
    assert "\n" not in str(caught.value)


def files_in(folder: Path, count: int, **changes: Any) -> ImageFiles:
    for number in range(count):
        write(folder / f"{number:03}.png", number, (10 + number % 3, 12))
    names = tuple(f"{number:03}.png" for number in range(count))
    shape = (3, 8, 8)
    files = ImageFiles(folder, names, torch.arange(count), shape, Framing(9, (8, 8)))
    return replace(files, **changes)


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_read_the_same_in_the_same_order(workers: int, tmp_path: Path) -> None:
    files = files_in(tmp_path, 45, workers=workers)
    batches = list(files.batches(20))
    assert [len(batch) for batch in batches] == [20, 20, 5]
    images = torch.cat([batch.images for batch in batches])
    assert torch.equal(images, expected(tmp_path, Framing(9, (8, 8))))
    assert torch.equal(torch.cat([batch.labels for batch in batches]), torch.arange(45))
    shared = [
        [batch.labels.tolist() for batch in files.batches(20, rank=r, world=2)] for r in (0, 1)
    ]
    assert shared == [[[*range(20)], [*range(40, 45)]], [[*range(20, 40)]]]

    order = torch.randperm(45)
    parts = list(replace(files, workers=0).parts(order, 9, seed=3))
    again = list(files.parts(order[18:], 9, seed=3))  # as a run does that goes on
    for one, other in zip(parts[2:], again, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert torch.equal(torch.cat([part.labels for part in parts]), order)
    others = next(files.parts(order, 9, seed=4)).images
    assert not torch.equal(others, parts[0].images)


def test_reading_draws_no_random_number_of_the_network_s(tmp_path: Path) -> None:
    files = files_in(tmp_path, 20)
    before = torch.get_rng_state()
    files.held()
    list(files.parts(torch.arange(20), 5, seed=0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_broken_file_in_a_hundred_is_left_out_and_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = files_in(tmp_path, 120)
    (tmp_path / "030.png").write_text("broken")
    Image.fromarray(np.zeros((10, 10), np.uint16)).save(tmp_path / "031.png")
    held = files.held()
    assert held.labels.tolist() == [*range(30), *range(31, 120)]
    said = capsys.readouterr().err
    assert "left out 1 of 120 images, which cannot be read: " in said
    assert "030.png (cannot identify image file)" in said
    assert "1 of 120 images have 16 bits a channel, of which the upper 8 are taken" in said
    files.held()
    assert capsys.readouterr().err == ""  # once is enough

    # A step takes as many images as ever: the next one stands in.
    labels = torch.cat([part.labels for part in files.parts(torch.arange(120), 30, seed=0)])
    assert labels.tolist() == [*range(30), 31, *range(31, 120)]

    (tmp_path / "119.png").unlink()
    with pytest.raises(TensorpressError, match=r"030.png cannot .*, and 1 more of 120: cannot"):
        files.held()


def test_the_fingerprint_tells_sets_apart(tmp_path: Path) -> None:
    files = files_in(tmp_path, 5)
    same = replace(files, workers=3)
    assert same.fingerprint() == files.fingerprint()
    for other in (
        replace(files, labels=files.labels.flip(0)),
        replace(files, framing=Framing(10, (8, 8))),
        replace(files, framing=Framing(9, (8, 8), "bicubic")),
        files.subset(torch.arange(4)),
    ):
        assert other.fingerprint() != files.fingerprint()
    before = files.fingerprint()
    with open(tmp_path / "002.png", "ab") as file:
        file.write(b"more")
    assert files.fingerprint() != before


def test_subsets_by_number_and_by_mask(tmp_path: Path) -> None:
    files = files_in(tmp_path, 6)
    assert files.subset(torch.tensor([4, 1])).files == ("004.png", "001.png")
    assert files.subset(files.labels > 3).labels.tolist() == [4, 5]


def test_images_of_one_size_that_memory_has_no_room_for_stay_in_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in ("train", "test"):
        for seed, name in enumerate(CLASSES):
            write(tmp_path / part / name / "1.png", seed, (14, 12))
    in_memory = load_data(tmp_path)
    monkeypatch.setattr(image_folder_module, "MOST_IN_MEMORY", 1000)
    data = load_data(tmp_path)
    assert isinstance(data.train, ImageFiles)
    assert torch.equal(data.train.held().images, in_memory.train.held().images)
    parts = next(data.train.parts(torch.arange(2), 2, seed=0))
    assert parts.images.shape == (2, 3, 12, 14)
