"""Whether a folder or a file could be written, found out without leaving anything behind."""

import tempfile
from pathlib import Path

from tensorpress.errors import TensorpressError


def refuse_unwritable(folder: Path, named: str | None = None) -> None:
    """Raise if nothing could be written into ``folder``, which need not be there yet.

    Args:
        named: what the message calls it; by default its path.

    Raises:
        TensorpressError: it is a file or lies under one, or is not writable.
    """
    named = str(folder) if named is None else named
    try:
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise TensorpressError(f"{named} cannot be written: {nearest} is a file, not a folder.")
        # Permission bits do not tell of read-only file systems, nor do they bind root.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise TensorpressError(
            f"{named} cannot be written ({error.strerror}): choose another place."
        ) from error


def refuse_no_file(path: Path) -> None:
    """Raise if ``path``, to which a file is to be written, is something else.

    A file takes the place of what is there, which is not to be done to a device or a pipe.

    Raises:
        TensorpressError: it is a folder, a device, a pipe or a socket, or may not be looked at.
    """
    try:
        is_folder, is_other = path.is_dir(), path.exists() and not path.is_file()
    except OSError as error:
        raise TensorpressError(
            f"cannot write {path}: {error.strerror or error}: choose another place."
        ) from error
    if is_folder:
        raise TensorpressError(
            f"cannot write {path}: it is a folder: give the name of a file in it."
        )
    if is_other:
        raise TensorpressError(
            f"cannot write {path}: it is no file, but a device, a pipe or a socket: give the name "
            "of a file."
        )
