"""Zip files that torch.save wrote, held against what torch.load does not look at."""

import zipfile
from pathlib import Path

FOLDER = 0x10
"""Mark of a folder among the attributes of a record in a zip file, after MS-DOS."""


def altered_record(path: Path) -> str | None:
    """The name of the first record that is not as it was written; None where all are.

    Raises:
        Exception: what zipfile raises on files that are no whole zip files, of many kinds.
    """
    with zipfile.ZipFile(path) as archive:
        # Of a record marked as a folder torch.load reads nothing, and gives stray memory.
        folders = (i.filename for i in archive.infolist() if i.external_attr & FOLDER)
        return archive.testzip() or next(folders, None)
