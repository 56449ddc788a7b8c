"""Which files below a folder are images, and what is passed over."""

import os
from collections.abc import Iterator
from pathlib import Path

from tensorpress.data.picture import suffixes
from tensorpress.progress import announce

# What systems and programmes keep beside one's own files, where a dot does not mark it.
_OF_SYSTEMS = {"@eaDir", "__MACOSX", "#recycle", "$RECYCLE.BIN", "System Volume Information"}
_OF_SYSTEMS |= {"lost+found", "__pycache__"}


class PassedOver:
    """Counts what is passed over below a folder, by reason, and says so in one line."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._paths: dict[str, list[str]] = {}

    def add(self, reason: str, path: str) -> None:
        """Count ``path``; ``reason`` reads on from a number."""
        self._paths.setdefault(reason, []).append(path)

    def say(self) -> None:
        """Say what was passed over, if anything was."""
        parts = [
            f"{len(paths):,} {reason} ({'first ' * (len(paths) > 1)}{os.path.normpath(min(paths))})"
            for reason, paths in self._paths.items()
        ]
        if parts:
            announce(f"{self.root}: left out {', '.join(parts)}")


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is kept from sight, or no one's own."""
    return name.startswith(".") or name in _OF_SYSTEMS


def image_paths(root: Path, below: str, passed_over: PassedOver) -> list[str]:
    """The images anywhere below a folder of ``root``, in the order of their names.

    Links are followed, but no folder is read twice. Paths are relative to ``root``.

    Raises:
        TensorpressError: Pillow is not installed.
    """
    found: list[str] = []
    known, start = suffixes(), Path(os.path.realpath(root / below))
    seen = {str(start), *map(str, start.parents)}
    waiting = [below]
    while waiting:
        folder = waiting.pop()
        for entry in _entries(root, folder, passed_over):
            path = os.path.join(folder, entry.name)
            is_folder, is_file = _kind(entry)
            if is_hidden(entry.name):
                passed_over.add(f"hidden {'folders' if is_folder else 'files'}", path)
            elif is_folder:
                real = os.path.realpath(root / path)
                if real in seen:
                    passed_over.add("links to folders that were read already", path)
                else:
                    seen.add(real)
                    waiting.append(path)
            elif not is_file:
                passed_over.add("links to nothing, or other things that are no files", path)
            elif os.path.splitext(entry.name)[1].lower() in known:
                found.append(path)
            else:
                passed_over.add("files that are no images by their names", path)
    return sorted(found, key=lambda path: path.split(os.sep))


def _entries(root: Path, folder: str, passed_over: PassedOver) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as entries:
            # Not by chance of the file system: of two links to one folder the first is followed.
            yield from sorted(entries, key=lambda entry: (entry.is_symlink(), entry.name))
    except PermissionError:
        passed_over.add("folders that may not be read", folder)


def _kind(entry: os.DirEntry[str]) -> tuple[bool, bool]:
    """Whether it is a folder or a file, or a link to one; a link to itself is neither."""
    try:
        return entry.is_dir(), entry.is_file()
    except OSError:
        return False, False
