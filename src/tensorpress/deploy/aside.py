"""Folders to write aside in, and what processes that were killed left of theirs."""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

PREFIX = ".tensorpress-export."
REPLACED = "replaced"
"""Where, in a folder aside, old files lie while the new ones take their places."""


@contextlib.contextmanager
def folder_aside(parent: Path) -> Iterator[Path]:
    """A folder in ``parent``, held by this process, and gone when the block ends.

    What killed processes left in ``parent`` is removed first. Whose process lives is told by a
    lock, which the kernel lets go of when the process ends, however it ends; without locks on the
    file system nothing is removed. A folder that holds the only copy of a file that was being
    replaced stays.
    """
    for leftover in parent.glob(f"{PREFIX}*"):
        if leftover.is_dir() and not leftover.is_symlink():
            _remove_if_dead(leftover)
    folder, handle = _made(parent)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _made(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=PREFIX))
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(folder, os.O_RDONLY)
            # Another process may have taken it for a leftover, just before it was held.
            if _lock(handle) is not False and folder.exists():
                return folder, handle
            os.close(handle)


def _remove_if_dead(leftover: Path) -> None:
    with contextlib.suppress(OSError):
        handle = os.open(leftover, os.O_RDONLY)
        try:
            if _lock(handle) and not _holds_only_copies(leftover):
                shutil.rmtree(leftover)
        finally:
            os.close(handle)


def _lock(handle: int) -> bool | None:
    """Whether the lock was free; None where the file system has none."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _holds_only_copies(leftover: Path) -> bool:
    replaced = leftover / REPLACED
    return any(not (leftover.parent / file.name).exists() for file in replaced.glob("*"))
