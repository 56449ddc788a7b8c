"""What of a set of files cannot be read as it is: counted, said, and refused where it is much."""

from collections.abc import Iterable
from pathlib import Path

from tensorpress.errors import TensorpressError
from tensorpress.progress import announce, warn

MOST = 0.01
"""The share of broken files that are left out; where there are more, something else is wrong."""


class Unread:
    """Counts the files of a set that are broken, or of which only a part is taken.

    Args:
        root: of the files.
        name: what the set is called.
        files: how many there are.
    """

    def __init__(self, root: Path, name: str, files: int) -> None:
        self.root, self.name, self.files = root, name, files
        self._broken: dict[str, str] = {}
        self._deep: set[str] = set()
        self._said = (0, 0)

    def add(self, broken: Iterable[tuple[str, str]], deep: Iterable[str]) -> None:
        """Count files: (path, reason) of broken ones, and paths of those with 16 bits a channel.

        Raises:
            TensorpressError: more than one in a hundred is broken; the message names one.
        """
        self._broken.update(broken)
        self._deep.update(deep)
        if len(self._broken) > MOST * self.files:
            path, reason = next(iter(self._broken.items()))
            others = len(self._broken) - 1
            also = f", and {others:,} more of {self.files:,}" if others else ""
            raise TensorpressError(
                f"{self.root / path} cannot be read as an image{also}: {reason}. Remove what is "
                "broken, or convert it."
            )

    def say(self) -> None:
        """Say what was counted since this was last called, if anything was."""
        counts = (len(self._broken), len(self._deep))
        if self._broken and counts[0] != self._said[0]:
            path, reason = next(iter(self._broken.items()))
            warn(
                f"{self.name}: left out {counts[0]:,} of {self.files:,} images, which cannot be "
                f"read: {self.root / path} ({reason}){' and others' * (counts[0] > 1)}"
            )
        if self._deep and counts[1] != self._said[1]:
            announce(
                f"{self.name}: {counts[1]:,} of {self.files:,} images have 16 bits a channel, of "
                "which the upper 8 are taken"
            )
        self._said = counts
