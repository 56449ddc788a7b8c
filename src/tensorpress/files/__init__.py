"""Write files and folders so that a crash, a full disk or a second process loses nothing."""

from tensorpress.files.atomic import write_atomically, write_whole
from tensorpress.files.lock import LOCK, locked

__all__ = ["LOCK", "locked", "write_atomically", "write_whole"]
