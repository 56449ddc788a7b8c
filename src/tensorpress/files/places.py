"""Where files that can be made anew are kept."""

import os
import unicodedata
from pathlib import Path

import platformdirs

from tensorpress.errors import TensorpressError, shown

LONGEST_NAME = 255
"""Bytes of a file's or folder's name, on all common systems."""


def as_path(value: object) -> Path:
    """What a user gave as the path of a file or folder.

    A name with accented letters is found in either of the forms that it can be written in: macOS
    and archives made there write them as two signs.

    Raises:
        TensorpressError: it is no text and no path, or no file could have such a name.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TensorpressError(f"{shown(value)} is no path: give one as a text or a pathlib.Path.")
    path = Path(value)
    if "\0" in str(path) or any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        raise TensorpressError(f"{shown(str(path))} is no name of a file: choose another one.")
    forms = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return path if os.path.lexists(path) else next(filter(os.path.lexists, forms), path)


def cache_folder(variable: str, *names: str) -> Path:
    """The folder in an environment variable, else that of these names in the user's cache.

    The user's cache is ``~/.cache/tensorpress`` on Linux, and what macOS and Windows have for it.
    """
    named = os.environ.get(variable)
    if named:
        return Path(named)
    return platformdirs.user_cache_path("tensorpress", appauthor=False).joinpath(*names)
