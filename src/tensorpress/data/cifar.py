"""CIFAR-10 and CIFAR-100 in their official binary layout (Krizhevsky, 2009)."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from tensorpress.data.dataset import Dataset
from tensorpress.data.image_set import ImageSet
from tensorpress.errors import TensorpressError

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class CifarFiles:
    """The files of a CIFAR set; the last of a record's label bytes is the class to learn."""

    folder: Path
    train: tuple[Path, ...]
    test: Path
    class_names: Path
    label_bytes: int
    num_classes: int


def find_cifar(folder: Path) -> CifarFiles | None:
    """Find a set in `folder`, or in the folder of that name that the official archive unpacks to.

    Returns:
        None if there are no files of either set.

    Raises:
        TensorpressError: there is more than one set, or its train or test file is missing.
    """
    sets = [
        files
        for place in (folder, folder / "cifar-10-batches-bin", folder / "cifar-100-binary")
        for files in (_cifar10(place), _cifar100(place))
        if files.train or files.test.is_file()
    ]
    if not sets:
        return None
    if len(sets) > 1:
        names = " and ".join(str(files.test) for files in sets)
        raise TensorpressError(f"{folder} holds more than one set ({names}): give one's own folder")
    found = sets[0]
    if not found.test.is_file():
        raise TensorpressError(
            f"{found.folder} has {found.train[0].name}, but no {found.test.name}"
        )
    if not found.train:
        raise TensorpressError(f"{found.folder} has {found.test.name}, but no file to train on")
    return found


def load_cifar(files: CifarFiles, name: str) -> Dataset:
    """Load a set into memory: images of 3x32x32, crops padded by 4 pixels, and flips.

    Mean and std are those of ImageNet, as the common CIFAR weight files expect. The classes have
    the names in the set's own list of them; without that list they are numbered.

    Raises:
        TensorpressError: a file is empty or not a whole number of records, or a label is out of
            range; the message names the file.
    """
    classes = _classes(files)
    train = np.concatenate([_records(file, files, classes) for file in files.train])
    return Dataset(
        name=name,
        train=_image_set(train, files.label_bytes),
        test=_image_set(_records(files.test, files, classes), files.label_bytes),
        classes=classes,
        mean=_MEAN,
        std=_STD,
        crop_padding=4,
        flip=True,
    )


def _cifar10(folder: Path) -> CifarFiles:
    train = sorted(
        (file for file in folder.glob("data_batch_*.bin") if file.is_file()), key=_by_number
    )
    names = folder / "batches.meta.txt"
    return CifarFiles(folder, tuple(train), folder / "test_batch.bin", names, 1, 10)


def _cifar100(folder: Path) -> CifarFiles:
    train = [file for file in (folder / "train.bin",) if file.is_file()]
    names = folder / "fine_label_names.txt"
    return CifarFiles(folder, tuple(train), folder / "test.bin", names, 2, 100)


def _by_number(file: Path) -> tuple[int, str]:
    number = re.search(r"(\d+)\.bin$", file.name)
    return (int(number.group(1)) if number else 0, file.name)


def _classes(files: CifarFiles) -> tuple[str, ...]:
    if not files.class_names.is_file():
        return tuple(str(number) for number in range(files.num_classes))
    try:
        lines = files.class_names.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TensorpressError(f"{files.class_names} cannot be read: {error}") from error
    classes = tuple(line.strip() for line in lines if line.strip())
    if not classes:
        raise TensorpressError(f"{files.class_names} is empty: it should name a class a line")
    return classes


def _records(file: Path, files: CifarFiles, classes: tuple[str, ...]) -> npt.NDArray[np.uint8]:
    size = files.label_bytes + _PIXELS
    try:
        content = np.fromfile(file, dtype=np.uint8)
    except OSError as error:
        raise TensorpressError(f"{file} cannot be read: {error}") from error
    if not content.size:
        raise TensorpressError(f"{file} is empty")
    if content.size % size:
        raise TensorpressError(
            f"{file} has {content.size:,} bytes, which is no whole number of records of {size:,} "
            f"bytes ({files.label_bytes} for the label, {_PIXELS:,} for 3x32x32 pixels): "
            "it is truncated or in another layout"
        )
    records = content.reshape(-1, size)
    labels = records[:, files.label_bytes - 1]
    if labels.max() >= len(classes):
        first = int(np.argmax(labels >= len(classes)))
        raise TensorpressError(
            f"{file} has label {labels[first]} in record {first}, but there are "
            f"{len(classes)} classes (0 to {len(classes) - 1})"
        )
    return records


def _image_set(records: npt.NDArray[np.uint8], label_bytes: int) -> ImageSet:
    images = np.ascontiguousarray(records[:, label_bytes:]).reshape(-1, *_SHAPE)
    labels = records[:, label_bytes - 1].astype(np.int64)
    return ImageSet(torch.from_numpy(images), torch.from_numpy(labels))
