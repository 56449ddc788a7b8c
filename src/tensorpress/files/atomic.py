"""Write files so that a crash leaves either the old file or the new one, whole."""

import contextlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tensorpress.errors import TensorpressError

PARTIAL = ".partial"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk, rename it to ``path``.

    Raises:
        TensorpressError: the folder cannot be written, or the disk is full. ``path`` is as it was.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL
        )
        os.close(handle)
        write(Path(temporary))
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        reason = error.strerror or str(error)
        raise TensorpressError(
            f"cannot write {path}: {reason}. Free some space or choose another place; "
            "what was there before is unchanged."
        ) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def remove_leftovers(folder: Path) -> int:
    """Remove what processes killed in the middle of a write left in ``folder``; gives the number.

    The caller holds the folder's lock, so that no other process is writing.
    """
    leftovers = list(folder.glob(f".*{PARTIAL}"))
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)


def write_whole(path: Path, content: str | bytes) -> None:
    """:func:`write_atomically` of text, in UTF-8, or bytes."""
    encoded = content.encode() if isinstance(content, str) else content

    def write(temporary: Path) -> None:
        temporary.write_bytes(encoded)

    write_atomically(path, write)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
