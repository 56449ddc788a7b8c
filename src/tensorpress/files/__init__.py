"""Write files and folders so that a crash, a full disk or a second process loses nothing."""

from tensorpress.files.atomic import remove_leftovers, write_atomically, write_whole
from tensorpress.files.lock import LOCK, locked
from tensorpress.files.text import printable

__all__ = ["LOCK", "locked", "printable", "remove_leftovers", "write_atomically", "write_whole"]
