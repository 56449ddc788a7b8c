"""One live process a folder."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from tensorpress.errors import TensorpressError

LOCK = ".lock"
PATIENCE = 0.1
"""Seconds to try for, as the last holder may just be removing the file."""


@contextlib.contextmanager
def locked(folder: Path, *, leave_file: bool = True) -> Iterator[None]:
    """Hold ``folder``, which is made if need be, for this process alone.

    The kernel lets go of the lock when the process ends, however it ends. Its file stays in the
    folder, unless ``leave_file`` is off.

    Raises:
        TensorpressError: a live process holds the folder, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / LOCK).touch()
    except OSError as error:
        raise TensorpressError(
            f"cannot write in {folder}: {error.strerror or error}. Choose another folder."
        ) from error
    lock = folder_lock(folder, _note_holder)
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise TensorpressError(
            f"{folder} is in use by a live process (pid {_holder(folder)}); wait for it to end, "
            "or choose another folder."
        ) from None
    except OSError as error:
        raise TensorpressError(
            f"cannot lock {folder}: {error.strerror or error}. Choose a folder on another disk."
        ) from error
    try:
        yield
    finally:
        if not leave_file:
            with contextlib.suppress(OSError):  # gone, or open, as Windows minds
                (folder / LOCK).unlink()
        lock.release()


def folder_lock(folder: Path, on_acquired: Callable[[int], None] | None = None) -> FileLock:
    """The lock of a folder, not taken yet: by the kernel or not at all."""
    return FileLock(folder / LOCK, fallback_to_soft=False, on_acquired=on_acquired)


def _note_holder(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.write(handle, str(os.getpid()).encode())


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError):  # Windows keeps a locked file from being read
        return (folder / LOCK).read_text(errors="replace") or "unknown"
    return "unknown"
