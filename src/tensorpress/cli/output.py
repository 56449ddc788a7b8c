"""Folders that commands write to."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tensorpress.errors import TensorpressError
from tensorpress.files import locked, refuse_no_file, refuse_unwritable, remove_leftovers
from tensorpress.progress import announce
from tensorpress.training.run_folder import METRICS, holds_run


@contextlib.contextmanager
def output_folder(
    folder: Path | None, files: Sequence[str] = (), *, dry_run: bool = False
) -> Iterator[None]:
    """Hold ``folder`` for this process while it works; None holds nothing.

    ``files`` are the names of those that will be written into it.

    In a ``dry_run`` it is only checked. Folders that this made, and in which nothing was written,
    are gone again afterwards.

    Raises:
        TensorpressError: as `check_output`, or another process writes to it.
    """
    if folder is None:
        yield
        return
    check_output(folder, files)
    if dry_run:
        yield
        return
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


def check_output(folder: Path, files: Sequence[str] = ()) -> None:
    """Raise before any work is done if ``folder``, or one of its ``files``, could not be written.

    Raises:
        TensorpressError: it is a file, a training run's folder, or not writable; or a folder has
            the name of one of the files.
    """
    try:
        if (folder / METRICS).exists() or _holds_run(folder):
            raise TensorpressError(
                f"-o {folder} is the folder of a training run: give another one."
            )
    except OSError as error:
        raise TensorpressError(
            f"-o {folder} cannot be written ({error.strerror}): choose another place."
        ) from error
    refuse_unwritable(folder, f"-o {folder}")
    for name in files:
        refuse_no_file(folder / name)


def _holds_run(folder: Path) -> bool:
    """Whether a run is in there that has trained nothing yet, or was not asked to."""
    try:
        return holds_run(folder)
    except TensorpressError:
        return False  # what cannot be read is none of ours


def required_folder(output: Path | None) -> Path:
    """The folder of a run.

    Raises:
        TensorpressError: none was given.
    """
    if output is None:
        raise TensorpressError("-o is missing: give the folder of the run.")
    return output
