"""CIFAR-10 and CIFAR-100, downloaded once."""

import re
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.progress import DownloadColumn

from tensorpress.data.cifar import CifarFiles, find_cifar
from tensorpress.errors import TensorpressError
from tensorpress.files import cache_folder
from tensorpress.progress import progress_bar

SITE = "https://www.cs.toronto.edu/~kriz"
CACHE_VARIABLE = "TENSORPRESS_DATA"


@dataclass(frozen=True)
class _Archive:
    file: str
    sha256: str
    folder: str

    @property
    def url(self) -> str:
        return f"{SITE}/{self.file}"


_ARCHIVES = {
    "cifar10": _Archive(
        "cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        "cifar-10-batches-bin",
    ),
    "cifar100": _Archive(
        "cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        "cifar-100-binary",
    ),
}


def downloaded_cifar(name: str, *, allowed: bool = True) -> CifarFiles:
    """The binary files of `"cifar10"` or `"cifar100"`, downloaded if need be.

    The cache is the folder in the environment variable `TENSORPRESS_DATA`, else the user's cache
    folder of the system. The official archive is checked against its SHA-256 and then unpacked
    aside and renamed, so that a killed process leaves nothing half there.

    Raises:
        TensorpressError: it is not in the cache and `allowed` is false, pooch is not installed, or
            the download fails; the message says where to put the files by hand.
    """
    try:
        import pooch
    except ImportError as error:
        raise TensorpressError(
            f"{name} by name needs pooch: pip install 'tensorpress[train]', or give the folder "
            "that holds its binary files"
        ) from error
    archive = _ARCHIVES[name]
    cache = cache_folder(CACHE_VARIABLE)
    folder = cache / archive.folder
    if folder.is_dir():
        return _found(folder)
    by_hand = f"put {archive.file} from {archive.url} into {cache}"
    if not allowed and not (cache / archive.file).is_file():
        raise TensorpressError(f"{name} is not in {cache}, and downloads are off: {by_hand}")
    _fetch(pooch, archive, cache, by_hand)
    _unpack(cache / archive.file, archive.folder, cache)
    return _found(folder)


def _found(folder: Path) -> CifarFiles:
    files = find_cifar(folder)
    if files is None:
        raise TensorpressError(f"{folder} holds no CIFAR files: remove it to have it made anew")
    return files


def _fetch(pooch: Any, archive: _Archive, cache: Path, by_hand: str) -> None:
    pooch.get_logger().setLevel("WARNING")
    try:
        with _DownloadBar(archive.file) as bar:
            pooch.retrieve(
                archive.url,
                known_hash=f"sha256:{archive.sha256}",
                fname=archive.file,
                path=cache,
                downloader=pooch.HTTPDownloader(progressbar=bar, timeout=30),
            )
    # OSError covers the connection's errors too; ValueError is pooch's for a wrong hash.
    except (OSError, ValueError) as error:
        reason = str(error) if isinstance(error, ValueError) else _reason(error)
        raise TensorpressError(
            f"cannot download {archive.url} ({reason}): {by_hand}, or give a folder"
        ) from error


def _reason(error: OSError) -> str:
    # A failed connection's own text is a page long; its type says as much.
    return error.strerror or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(error).__name__).lower()


def _unpack(file: Path, folder: str, cache: Path) -> None:
    try:
        with (
            tempfile.TemporaryDirectory(dir=cache, prefix=f".{folder}-") as aside,
            tarfile.open(file) as archive,
        ):
            archive.extractall(aside, filter="data")
            try:
                (Path(aside) / folder).rename(cache / folder)
            except OSError:
                # Another process may have been quicker.
                if not (cache / folder).is_dir():
                    raise
    except (OSError, tarfile.TarError) as error:
        raise TensorpressError(f"cannot unpack {file}: {error}") from error


class _DownloadBar:
    """The progress bar with the four names that pooch asks of one."""

    def __init__(self, title: str) -> None:
        self._progress = progress_bar(DownloadColumn())
        self._task = self._progress.add_task(title, total=None)

    def __enter__(self) -> "_DownloadBar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.__exit__(kind, error, trace)

    @property
    def total(self) -> float | None:
        return self._progress.tasks[0].total

    @total.setter
    def total(self, size: float) -> None:
        self._progress.update(self._task, total=size)

    def update(self, size: int) -> None:
        self._progress.advance(self._task, size)

    def reset(self) -> None:
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        self._progress.refresh()
