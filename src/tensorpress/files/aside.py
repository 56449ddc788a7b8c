"""Folders to write aside in, and what processes that were killed left of theirs."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tensorpress.files.lock import folder_lock

PARTIAL = ".tensorpress.partial"
OLD_PARTIAL = ".partial"
"""What files written aside were once called by."""
REPLACED = "replaced"
"""Where, in a folder aside, old files lie while the new ones take their places."""
MOST_CHARACTERS = 50


@contextlib.contextmanager
def folder_aside(path: Path) -> Iterator[Path]:
    """A folder beside ``path``, held by this process, and gone when the block ends.

    What killed processes left beside ``path`` is removed first. Whose process lives is told by a
    lock, which the kernel lets go of when the process ends, however it ends; without locks on the
    file system nothing is removed. A folder that holds the only copy of a file that was being
    replaced stays.
    """
    _remove_dead(path.parent)
    folder, lock = _made(path)
    try:
        yield folder
    finally:
        _remove(folder, lock)


def remove_leftovers(folder: Path) -> int:
    """Remove what processes killed in the middle of a write left in ``folder``; gives the number.

    The caller holds the folder's lock, so that no other process is writing.
    """
    files = [file for file in folder.glob(f".*{OLD_PARTIAL}") if not _is_folder(file)]
    for file in files:
        file.unlink(missing_ok=True)
    return len(files) + _remove_dead(folder)


def _remove_dead(parent: Path) -> int:
    return sum(_remove_if_dead(leftover) for leftover in parent.glob(f".*{PARTIAL}"))


def _remove_if_dead(leftover: Path) -> bool:
    if not _is_folder(leftover):
        return False
    lock = folder_lock(leftover)
    try:
        lock.acquire(blocking=False)
    except OSError:  # held by a live process, or not to be told
        return False
    if _holds_only_copies(leftover):
        lock.release()
        return False
    _remove(leftover, lock)
    return True


def _remove(folder: Path, lock: FileLock) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    with contextlib.suppress(OSError):  # gone, but on Windows, which keeps what is open
        folder.rmdir()


def _made(path: Path) -> tuple[Path, FileLock]:
    prefix = f".{path.name[:MOST_CHARACTERS]}."
    while True:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=prefix, suffix=PARTIAL))
        lock = folder_lock(folder)
        try:
            lock.acquire(blocking=False)
        except (Timeout, FileNotFoundError):  # another process took it for a leftover
            continue
        except OSError:  # the file system has no locks
            pass
        return folder, lock


def _is_folder(leftover: Path) -> bool:
    return leftover.is_dir() and not leftover.is_symlink()


def _holds_only_copies(leftover: Path) -> bool:
    replaced = leftover / REPLACED
    return any(not (leftover.parent / file.name).exists() for file in replaced.glob("*"))
