"""Where files that can be made anew are kept."""

import os
from pathlib import Path

import platformdirs


def cache_folder(variable: str, *names: str) -> Path:
    """The folder in an environment variable, else that of these names in the user's cache.

    The user's cache is ``~/.cache/tensorpress`` on Linux, and what macOS and Windows have for it.
    """
    named = os.environ.get(variable)
    if named:
        return Path(named)
    return platformdirs.user_cache_path("tensorpress", appauthor=False).joinpath(*names)
