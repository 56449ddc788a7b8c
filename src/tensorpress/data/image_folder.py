"""One's own images, sorted into folders by class or not."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch

from tensorpress.data.dataset import Dataset, Images
from tensorpress.data.framing import Framing
from tensorpress.data.image_files import ImageFiles
from tensorpress.data.image_paths import PassedOver, image_paths, is_hidden
from tensorpress.data.picture import Look, Unreadable, look
from tensorpress.data.wanted import Wanted
from tensorpress.errors import TensorpressError
from tensorpress.files import composed
from tensorpress.progress import announce, warn

MOST_IN_MEMORY = 4 * 2**30
"""Bytes of pixels; what is larger is read from the disk in every epoch."""
TRAIN_FOLDERS = ("train",)
TEST_FOLDERS = ("test", "val", "validation", "valid")


def holds_classes(folder: Path) -> bool:
    """Whether there are images by class, to train on and to test on."""
    return None not in (_part(folder, TRAIN_FOLDERS), _part(folder, TEST_FOLDERS))


def load_image_folder(folder: Path, wanted: Wanted) -> Dataset:
    """Load `train/CLASS/*` and `test/CLASS/*`, or `val` for `test`; images may lie deeper too.

    Both may be written in capitals. The folders in `train`, sorted, are the classes; links are
    followed, and hidden folders are left out. The images become (3, H, W), or (1, H, W) if all of
    them are grey. Those that are all of the wanted size, or of one size where none is wanted, are
    held in memory up to 4 GiB, and trained on in crops padded by an eighth of the shorter side. All
    others are read when they are wanted, and trained on in random parts. Both are flipped; mean and
    std are those of ImageNet, for grey images 0.5 each. What is left out is said on standard error.

    Raises:
        TensorpressError: Pillow is not installed, a class of `train` or all of `test` has no
            images, `test` has a class that `train` has not, images differ in size and no size is
            wanted, or more than one in a hundred cannot be read; the message names one.
    """
    passed_over = PassedOver(folder)
    train, test = _part(folder, TRAIN_FOLDERS), _part(folder, TEST_FOLDERS)
    assert train is not None
    assert test is not None
    of_train = _subfolders(folder, train, passed_over)
    classes = tuple(of_train)
    if not classes:
        raise TensorpressError(f"{folder / train} has no folders: give one of images a class")
    of_test = _subfolders(folder, test, passed_over)
    for name in of_test:
        if name not in classes:
            raise TensorpressError(
                f"{folder / test / name} is a class that {folder / train} does not have"
            )
    train_files = _by_class(folder, train, of_train, passed_over)
    _refuse_empty(folder / train, train_files, classes)
    test_files = _by_class(folder, test, of_test, passed_over)
    if not test_files:
        raise TensorpressError(f"{folder / test} holds no images by class")
    passed_over.say()
    _warn_of_empty(folder / test, test_files, classes)
    return _by_parts(folder, train_files, test_files, classes, wanted)


def holds_tests(folder: Path) -> bool:
    """Whether there are images by class, if only to test on.

    Raises:
        TensorpressError: there are some to train on alone, which would else pass for a class.
    """
    test, train = _part(folder, TEST_FOLDERS), _part(folder, TRAIN_FOLDERS)
    if test is None and train is not None:
        raise TensorpressError(
            f"{folder} holds {train} and no images to test on: looked for "
            f"{', '.join(TEST_FOLDERS)}. To take those of {train}, give {folder / train}."
        )
    part = folder / (test or ".")
    return bool(_subfolders(part, ".", PassedOver(part)))


def load_test_folder(folder: Path, wanted: Wanted) -> Dataset:
    """Load `test/CLASS/*`, or `val` for `test`, or `CLASS/*`, without training images.

    The folders, sorted, are the classes; those without images keep their numbers and are counted.
    All else as :func:`load_image_folder`.

    Raises:
        TensorpressError: none has an image, or as :func:`load_image_folder`.
    """
    passed_over = PassedOver(folder)
    part = _part(folder, TEST_FOLDERS) or "."
    found = _subfolders(folder, part, passed_over)
    classes = tuple(found)
    files = _by_class(folder, part, found, passed_over)
    if not files:
        raise TensorpressError(f"{folder / part} holds no images by class")
    passed_over.say()
    _warn_of_empty(folder / part, files, classes)
    return _by_parts(folder, [], files, classes, wanted)


def _warn_of_empty(part: Path, files: Sequence[tuple[str, str]], classes: Sequence[str]) -> None:
    empty = len(classes) - len({name for _, name in files})
    if empty:
        warn(f"{part}: {empty} of {len(classes)} classes have no images")


def _refuse_empty(part: Path, files: Sequence[tuple[str, str]], classes: Sequence[str]) -> None:
    with_images = {name for _, name in files}
    for name in classes:
        if name not in with_images:
            raise TensorpressError(f"{part / name} holds no images")


def _by_parts(
    folder: Path,
    train_files: list[tuple[str, str]],
    test_files: list[tuple[str, str]],
    classes: tuple[str, ...],
    wanted: Wanted,
) -> Dataset:
    """The data set of files with the names of their classes."""
    files = train_files + test_files
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [numbers[name] for _, name in files]
    whole = _files(folder, [file for file, _ in files], labels, wanted)
    place = torch.arange(len(whole))
    count = len(train_files)
    train, rest = whole.subset(place[:count]), whole.subset(place[count:])
    if whole.framing is None and len(whole) * math.prod(whole.shape) <= MOST_IN_MEMORY:
        return _dataset(folder, train.held(), rest.held(), classes)
    return _dataset(folder, train, rest, classes)


def load_flat_images(
    folder: Path, most: int | None = None, seed: int = 0, wanted: Wanted | None = None
) -> Dataset:
    """Load the images that stand in ``folder`` or anywhere below it, in the order of their names.

    Of more than ``most`` of them, as many are drawn with ``seed``; the others are not read.
    They are the training images of a data set of one class, without test images, in memory; all
    else as :func:`load_image_folder`.

    Raises:
        TensorpressError: there are none, or as :func:`load_image_folder`.
    """
    passed_over = PassedOver(folder)
    files = image_paths(folder, "", passed_over)
    if not files:
        raise TensorpressError(
            f"{folder} holds no images: looked for files that end in .png, .jpg, .jpeg, .webp or "
            "what else Pillow reads"
        )
    passed_over.say()
    if most is not None and len(files) > most:
        order = torch.randperm(len(files), generator=torch.Generator().manual_seed(seed))
        files = [files[index] for index in sorted(order[:most].tolist())]
    everything = _files(folder, files, [0] * len(files), wanted or Wanted()).held()
    return _dataset(folder, everything, everything.subset(torch.arange(0)), (folder.name,))


def _part(folder: Path, names: Sequence[str]) -> str | None:
    """The folder in ``folder`` of the first of the names that there is, as it is written there."""
    there = sorted(entry.name for entry in _entries(folder) if entry.is_dir())
    for name in names:
        if found := [one for one in there if one.lower() == name]:
            return name if name in found else found[0]
    return None


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise TensorpressError(f"{folder} cannot be read: {error.strerror}.") from error


def _dataset(folder: Path, train: Images, test: Images, classes: tuple[str, ...]) -> Dataset:
    channels, height, width = train.shape
    return Dataset(
        name=composed(folder.resolve().name),
        train=train,
        test=test,
        classes=classes,
        mean=(0.5,) if channels == 1 else (0.485, 0.456, 0.406),
        std=(0.5,) if channels == 1 else (0.229, 0.224, 0.225),
        crop_padding=0 if isinstance(train, ImageFiles) else min(height, width) // 8,
        flip=True,
    )


def _subfolders(folder: Path, part: str, passed_over: PassedOver) -> dict[str, list[str]]:
    """The folders in one by name, sorted; a name written in two forms of Unicode is one."""
    found: dict[str, list[str]] = {}
    entries = _entries(folder / part)
    for entry in sorted(entries, key=lambda entry: (composed(entry.name), entry.name)):
        path = f"{part}/{entry.name}"
        if is_hidden(entry.name):
            passed_over.add(f"hidden {'folders' if entry.is_dir() else 'files'}", path)
        elif entry.is_dir():
            found.setdefault(composed(entry.name), []).append(entry.name)
        else:
            passed_over.add("files that are in no folder of a class", path)
    return found


def _by_class(
    folder: Path,
    part: str,
    folders: Mapping[str, Sequence[str]],
    passed_over: PassedOver,
) -> list[tuple[str, str]]:
    """The image files, each with the name of its class."""
    return [
        (file, name)
        for name, written in folders.items()
        for one in written
        for file in image_paths(folder, f"{part}/{one}", passed_over)
    ]


def _files(root: Path, files: list[str], labels: list[int], wanted: Wanted) -> ImageFiles:
    """The files, and how they come to one shape."""
    channels, size = None, None
    if wanted.shape is not None:
        if len(wanted.shape) != 3 or wanted.shape[0] not in (1, 3):
            raise TensorpressError(
                f"{root} holds images, of 1 or 3 channels, and the network takes "
                f"{','.join(map(str, wanted.shape))}: give it what it takes from Python."
            )
        channels, size = wanted.shape[0], (wanted.shape[1], wanted.shape[2])
    framing = wanted.framing or (wanted.usual if size is None else None)
    if framing is None:
        found = _one_size(root, files, size, differ=wanted.fallback is not None)
        if found is None:
            framing = Framing.to(size, wanted.interpolation) if size else wanted.fallback
            announce(f"{root}: images are brought to the network's size: {framing}")
        else:
            size = found
    if framing is not None:
        size = framing.crop
    assert size is not None
    if channels == 1 and _channels(root, files) == 3:
        announce(f"{root}: the network takes one channel, and images in colours become grey")
    channels = channels or _channels(root, files)
    shape = (channels, *size)
    return ImageFiles(root, tuple(files), torch.tensor(labels), shape, framing, wanted.workers)


def _one_size(
    root: Path, files: list[str], wanted: tuple[int, int] | None, *, differ: bool
) -> tuple[int, int] | None:
    """(H, W) of all the images; None if one of them has not the wanted one, or they may differ.

    Raises:
        TensorpressError: they differ where they may not, or none of them can be read.
    """
    first: tuple[str, Look] | None = None
    for file, seen in _looks(root, files):
        if first is None:
            first = (file, seen)
        size, usual = (seen.height, seen.width), (first[1].height, first[1].width)
        if wanted is not None and size != wanted:
            return None
        if size != usual and differ:
            return None
        if size != usual:
            raise TensorpressError(
                f"{root / file} is {seen.width}x{seen.height}, but {root / first[0]} is "
                f"{first[1].width}x{first[1].height}: bring all images to one size first, or say "
                "what they are to become: resize=256, crop=224 (--resize 256 --crop 224), or the "
                "shape that the network takes (--input-shape 3,224,224)"
            )
    if first is None:
        raise _unreadable(root, files)
    return first[1].height, first[1].width


def _channels(root: Path, files: list[str]) -> int:
    """3 if any of the images has colours, else 1.

    Raises:
        TensorpressError: none of them can be read.
    """
    grey = None
    for _, seen in _looks(root, files):
        grey = seen.grey
        if not grey:
            return 3
    if grey is None:
        raise _unreadable(root, files)
    return 1


def _looks(root: Path, files: list[str]) -> Iterator[tuple[str, Look]]:
    """What the heads of the images say; one that cannot be read is told of when its turn comes."""
    for file in files:
        with contextlib.suppress(Unreadable):
            yield file, look(root / file)


def _unreadable(root: Path, files: list[str]) -> TensorpressError:
    try:
        look(root / files[0])
    except Unreadable as error:
        also = f", nor can the {len(files) - 1:,} others" if len(files) > 1 else ""
        return TensorpressError(f"{root / files[0]} cannot be read as an image{also}: {error}.")
    raise AssertionError
