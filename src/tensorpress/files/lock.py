"""One live process a folder."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from tensorpress.errors import TensorpressError

LOCK = ".lock"


@contextlib.contextmanager
def locked(folder: Path, *, leave_file: bool = True) -> Iterator[None]:
    """Hold ``folder``, which is made if need be, for this process alone.

    The kernel lets go of the lock when the process ends, however it ends. Its file stays in the
    folder, unless ``leave_file`` is off.

    Raises:
        TensorpressError: a live process holds the folder, or it cannot be written.
    """
    handle = _open(folder)
    try:
        _take(handle, folder)
        while not _is_in_place(handle, folder):  # its last holder removed it in the meantime
            os.close(handle)
            handle = _open(folder)
            _take(handle, folder)
        try:
            yield
        finally:
            if not leave_file:
                (folder / LOCK).unlink(missing_ok=True)
    finally:
        os.close(handle)


def _open(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise TensorpressError(
            f"cannot write in {folder}: {error.strerror or error}. Choose another folder."
        ) from error


def _is_in_place(handle: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(folder / LOCK))
    except FileNotFoundError:
        return False


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode(errors="replace") or "unknown"
        raise TensorpressError(
            f"{folder} is in use by a live process (pid {holder}); wait for it to end, "
            "or choose another folder."
        ) from None
    except OSError as error:
        raise TensorpressError(
            f"cannot lock {folder}: {error.strerror or error}. Choose a folder on another disk."
        ) from error
