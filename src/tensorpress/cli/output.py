"""Folders that commands write to."""

import os
from pathlib import Path

from tensorpress.errors import TensorpressError


def check_output(folder: Path) -> None:
    """Raise before any work is done if ``folder`` could not be written.

    Raises:
        TensorpressError: it is a file, a training run's folder, or not writable.
    """
    if folder.exists() and not folder.is_dir():
        raise TensorpressError(f"-o {folder} is a file: give a folder.")
    if (folder / "metrics.jsonl").exists():
        raise TensorpressError(f"-o {folder} is the folder of a training run: give another one.")
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise TensorpressError(f"-o {folder} cannot be written: no permission in {nearest}.")
