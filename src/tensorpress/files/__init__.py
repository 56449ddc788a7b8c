"""Write files and folders so that a crash, a full disk or a second process loses nothing."""

from tensorpress.files.aside import remove_leftovers
from tensorpress.files.json_file import read_json
from tensorpress.files.lock import LOCK, locked
from tensorpress.files.places import as_path, cache_folder
from tensorpress.files.saved_zip import altered_record
from tensorpress.files.staged import staged, write_atomically, write_whole
from tensorpress.files.text import composed, printable
from tensorpress.files.writable import refuse_no_file, refuse_unwritable

__all__ = [
    "LOCK",
    "altered_record",
    "as_path",
    "cache_folder",
    "composed",
    "locked",
    "printable",
    "read_json",
    "refuse_no_file",
    "refuse_unwritable",
    "remove_leftovers",
    "staged",
    "write_atomically",
    "write_whole",
]
