"""One's own images, sorted into folders by class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tensorpress.data.image_set import Dataset, ImageSet
from tensorpress.errors import TensorpressError
from tensorpress.files import composed

_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_BYTE_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")

Pixels = npt.NDArray[np.uint8]


def load_image_folder(folder: Path) -> Dataset:
    """Load `train/CLASS/*` and `test/CLASS/*`: images of 8 bits a channel, all of one size.

    The folders in `train`, sorted, are the classes. The images become (3, H, W), or (1, H, W) if
    all of them are grey; alpha channels are dropped. Crops are padded by an eighth of the shorter
    side, images are flipped; mean and std are those of ImageNet, for grey images 0.5 each.

    Raises:
        TensorpressError: Pillow is not installed, a class of `train` or all of `test` has no
            images, `test` has a class that `train` has not, or an image cannot be read or differs
            in size; the message names it.
    """
    of_train, of_test = (_subfolders(folder / part) for part in ("train", "test"))
    classes = tuple(of_train)
    if not classes:
        raise TensorpressError(f"{folder / 'train'} has no folders: give one of images a class")
    for name in of_test:
        if name not in classes:
            raise TensorpressError(
                f"{folder / 'test' / name} is a class that {folder / 'train'} does not have"
            )
    train_files, test_files = (
        _files([found.get(name, []) for name in classes]) for found in (of_train, of_test)
    )
    for number, name in enumerate(classes):
        if not any(label == number for _, label in train_files):
            raise TensorpressError(f"{folder / 'train' / name} holds no images")
    if not test_files:
        raise TensorpressError(f"{folder / 'test'} holds no images by class")

    pixels = _read_all([file for file, _ in train_files + test_files])
    labels = torch.tensor([label for _, label in train_files + test_files])
    whole = ImageSet(torch.from_numpy(pixels), labels)
    place = torch.arange(len(whole))
    count = len(train_files)
    return _dataset(folder, whole.subset(place[:count]), whole.subset(place[count:]), classes)


def load_flat_images(folder: Path, most: int | None = None, seed: int = 0) -> Dataset:
    """Load the images that stand in ``folder`` or anywhere below it, in the order of their names.

    Of more than ``most`` of them, as many are drawn with ``seed``; the others are not read.
    They are the training images of a data set of one class, without test images; all else as
    :func:`load_image_folder`.

    Raises:
        TensorpressError: there are none, or as :func:`load_image_folder`.
    """
    files = [file for file, _ in _files([[folder]])]
    if not files:
        raise TensorpressError(
            f"{folder} holds no images: looked for files that end in {', '.join(_SUFFIXES)}"
        )
    if most is not None and len(files) > most:
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))
        files = [files[index] for index in sorted(order[:most].tolist())]
    pixels = torch.from_numpy(_read_all(files))
    everything = ImageSet(pixels, torch.zeros(len(pixels), dtype=torch.long))
    return _dataset(folder, everything, everything.subset(torch.arange(0)), (folder.name,))


def _dataset(folder: Path, train: ImageSet, test: ImageSet, classes: tuple[str, ...]) -> Dataset:
    grey = train.images.shape[1] == 1
    return Dataset(
        name=composed(folder.resolve().name),
        train=train,
        test=test,
        classes=classes,
        mean=(0.5,) if grey else (0.485, 0.456, 0.406),
        std=(0.5,) if grey else (0.229, 0.224, 0.225),
        crop_padding=min(train.images.shape[2:]) // 8,
        flip=True,
    )


def _subfolders(folder: Path) -> dict[str, list[Path]]:
    """The folders in one by name, sorted; a name written in two forms is one."""
    found: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir(), key=lambda entry: (composed(entry.name), entry.name)):
        if entry.is_dir() and entry.name[0] != ".":
            found.setdefault(composed(entry.name), []).append(entry)
    return found


def _files(classes: Sequence[Sequence[Path]]) -> list[tuple[Path, int]]:
    """The images in the folders of each class, with its number."""
    return [
        (file, label)
        for label, folders in enumerate(classes)
        for folder in folders
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in _SUFFIXES and file.name[0] != "." and file.is_file()
    ]


def _read_all(files: list[Path]) -> Pixels:
    """(N, C, H, W) with one channel if all the images are grey, else three."""
    images = [_read(file) for file in files]
    first = images[0].shape[:2]
    for file, image in zip(files, images, strict=True):
        if image.shape[:2] != first:
            raise TensorpressError(
                f"{file} is {_size(image)}, but {files[0]} is {_size(images[0])}: "
                "bring all images to one size first"
            )
    if any(image.shape[2] == 3 for image in images):
        images = [np.broadcast_to(image, (*first, 3)) for image in images]
    return np.stack(images).transpose(0, 3, 1, 2).copy()


def _read(file: Path) -> Pixels:
    """(H, W, 1) for a grey image, else (H, W, 3)."""
    try:
        from PIL import Image
    except ImportError as error:
        raise TensorpressError(
            "a folder of images needs Pillow: pip install 'tensorpress[train]'"
        ) from error
    try:
        with Image.open(file) as opened:
            mode = opened.mode
            pixels = np.asarray(opened.convert("L" if mode in ("1", "L", "LA") else "RGB"))
    # Pillow answers broken files with errors of many kinds.
    except Exception as error:
        raise TensorpressError(f"{file} cannot be read as an image: {error}") from error
    if mode not in _BYTE_MODES:
        raise TensorpressError(f"{file} has more than 8 bits a channel ({mode}): convert it first")
    return pixels.reshape(*pixels.shape[:2], -1)


def _size(image: Pixels) -> str:
    height, width, _ = image.shape
    return f"{width}x{height}"
