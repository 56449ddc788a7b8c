"""Folders that commands write to."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tensorpress.errors import TensorpressError
from tensorpress.files import locked, remove_leftovers
from tensorpress.progress import announce


@contextlib.contextmanager
def output_folder(folder: Path | None) -> Iterator[None]:
    """Hold ``folder`` for this process while it works; None holds nothing.

    Folders that this made, and in which nothing was written, are gone again afterwards.

    Raises:
        TensorpressError: as `check_output`, or another process writes to it.
    """
    if folder is None:
        yield
        return
    check_output(folder)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        with locked(folder, leave_file=False):
            found = remove_leftovers(folder)
            if found:
                announce(
                    f"{folder} held {found} unfinished file{'s' * (found > 1)} of an interrupted "
                    "command: removed."
                )
            yield
    finally:
        with contextlib.suppress(OSError):  # something is in there
            for place in made:
                place.rmdir()


def check_output(folder: Path) -> None:
    """Raise before any work is done if ``folder`` could not be written.

    Raises:
        TensorpressError: it is a file, a training run's folder, or not writable.
    """
    try:
        if (folder / "metrics.jsonl").exists():
            raise TensorpressError(
                f"-o {folder} is the folder of a training run: give another one."
            )
        nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not nearest.is_dir():
            raise TensorpressError(
                f"-o {folder} cannot be written: {nearest} is a file, not a folder."
            )
        # Permission bits do not tell of read-only file systems, nor do they bind root.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise TensorpressError(
            f"-o {folder} cannot be written ({error.strerror}): choose another place."
        ) from error


def required_folder(output: Path | None) -> Path:
    """The folder of a run.

    Raises:
        TensorpressError: none was given.
    """
    if output is None:
        raise TensorpressError("-o is missing: give the folder of the run.")
    return output
