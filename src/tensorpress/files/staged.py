"""Write files so that a crash leaves either the old ones or the new ones, whole."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tensorpress.errors import TensorpressError
from tensorpress.files.aside import REPLACED, folder_aside
from tensorpress.files.writable import refuse_no_file

NEW = "new"
"""Where, in a folder aside, new files are written: under the names that they will have."""


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A place to write ``path`` to, and others beside it; all are moved when the block ends well.

    If it ends with an error nothing is left, and what was there before is unchanged. A crash never
    leaves a new file beside an old one that belongs to another; what it leaves aside, the next
    call for a file in that folder removes.

    Raises:
        TensorpressError: the folder cannot be written, or the disk is full.
    """
    made: list[Path] = []
    try:
        refuse_no_file(path)
        made = [folder for folder in path.absolute().parents if not folder.exists()]
        nearest = path.absolute().parents[len(made)]
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is a file, not a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        with folder_aside(path) as folder:
            new = folder / NEW
            new.mkdir()
            yield new / path.name
            _move(new, folder / REPLACED, path)
        made = []
    except OSError as error:
        raise TensorpressError(
            f"cannot write {path}: {error.strerror or error}. Free some space or choose another "
            "place; what was there before is unchanged."
        ) from error
    finally:
        for empty in made:
            with contextlib.suppress(OSError):
                empty.rmdir()


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Call ``write`` on a :func:`staged` place for ``path``."""
    with staged(path) as place:
        write(place)


def write_whole(path: Path, content: str | bytes) -> None:
    """:func:`write_atomically` of text, in UTF-8, or bytes."""
    with staged(path) as place:
        place.write_bytes(content.encode() if isinstance(content, str) else content)


def _move(new: Path, aside: Path, path: Path) -> None:
    """One file replaces the old one at once. Of several, the old ones all go before any comes."""
    files = list(new.iterdir())
    for file in files:
        with open(file, "r+b") as written:
            os.fsync(written.fileno())
        os.chmod(file, 0o666 & ~_umask())  # libraries may write for the owner alone
    aside.mkdir()
    with contextlib.ExitStack() as undo:
        for file in files if len(files) > 1 else []:
            place = path.parent / file.name
            if place.exists():
                os.replace(place, aside / file.name)
                undo.callback(os.replace, aside / file.name, place)
        for file in files:
            place = path.parent / file.name
            os.replace(file, place)
            undo.callback(place.unlink)
        undo.pop_all()


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
