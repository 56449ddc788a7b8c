"""Data by name or from a folder."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tensorpress.choices import DATA_NAMES
from tensorpress.data.cifar import find_cifar, load_cifar
from tensorpress.data.dataset import Dataset
from tensorpress.data.digits import load_digits
from tensorpress.data.download import downloaded_cifar
from tensorpress.data.framing import Framing
from tensorpress.data.image_folder import (
    holds_classes,
    holds_tests,
    load_image_folder,
    load_test_folder,
)
from tensorpress.data.wanted import Wanted
from tensorpress.errors import TensorpressError
from tensorpress.files import as_path, composed
from tensorpress.pixels import check_normalisation

_LOOKED_FOR = (
    "data_batch_*.bin and test_batch.bin (CIFAR-10's binary layout), train.bin and test.bin "
    "(CIFAR-100's), or train/CLASS/ and test/CLASS/ (or val/CLASS/) with images"
)


def load_data(
    source: str | os.PathLike[str],
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    download: bool = True,
    wanted: Wanted | None = None,
    tests_alone: bool = False,
) -> Dataset:
    """Load images and labels: into memory, or as files where sizes differ or there are many.

    Parameters:
        source: `"digits"` (scikit-learn's, 1x8x8, offline), `"digits16"` (the same, every pixel
            four, 1x16x16), `"cifar10"` or `"cifar100"` (downloaded once into a cache folder), or a
            folder: CIFAR's binary layout of either kind, any number of whole records a file, or
            images by class, `train/CLASS/*` and `test/CLASS/*` (:func:`load_image_folder`).
        mean, std: in place of the data's own, one value a channel, for images scaled to 0 .. 1.
        download: whether `cifar10` and `cifar100` may be downloaded.
        wanted: what images in folders are to become; by default they are taken as they are, and
            have to be of one size.
        tests_alone: take folders without `train` too, `test/CLASS/*` or `CLASS/*`: their data set
            has no training images.

    Raises:
        TensorpressError: nothing usable there, a broken file, `mean` or `std` that do not fit, an
            optional dependency that is not installed, or a failed download.
    """
    check_normalisation(mean, std)
    data = _load(os.fspath(source), download, wanted or Wanted(), tests_alone)
    return replace(
        data,
        mean=data.mean if mean is None else tuple(mean),
        std=data.std if std is None else tuple(std),
    )


def _load(source: str, download: bool, wanted: Wanted, tests_alone: bool) -> Dataset:
    if source in DATA_NAMES:
        refuse_framing(source, wanted.framing)
    if source in ("digits", "digits16"):
        return load_digits(16 if source == "digits16" else 8)
    if source in ("cifar10", "cifar100"):
        return load_cifar(downloaded_cifar(source, allowed=download), source)
    folder = as_path(Path(source).expanduser())
    if folder.is_file():
        raise TensorpressError(
            f"{source} is a file, not a folder; an archive has to be unpacked first"
        )
    if not folder.is_dir():
        raise TensorpressError(
            f"there is no folder '{source}', and no data of that name: "
            f"give {', '.join(DATA_NAMES)} or a folder"
        )
    files = find_cifar(folder)
    if files is not None:
        refuse_framing(source, wanted.framing)
        return load_cifar(files, composed(folder.resolve().name))
    if holds_classes(folder):
        return load_image_folder(folder, wanted)
    if tests_alone and holds_tests(folder):
        return load_test_folder(folder, wanted)
    raise TensorpressError(f"{folder} holds no data; looked for {_LOOKED_FOR}{_hint(folder)}")


def refuse_framing(source: str, framing: Framing | None) -> None:
    """Refuse to resize what has one size."""
    if framing is not None:
        raise TensorpressError(
            f"{source} holds images of one size as records: resize= and crop= (--resize, --crop) "
            "are for folders of image files; leave them out."
        )


def _hint(folder: Path) -> str:
    pickled = (folder, folder / "cifar-10-batches-py", folder / "cifar-100-python")
    if any((at / name).is_file() for at in pickled for name in ("data_batch_1", "train")):
        return "; this is CIFAR's Python version, which is pickled: take the binary version"
    return ""
