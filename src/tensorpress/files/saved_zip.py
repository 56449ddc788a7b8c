"""Zip files that torch.save wrote, held against what torch.load does not look at."""

import zipfile
from pathlib import Path

FOLDER = 0x10
"""Mark of a folder among the attributes of a record in a zip file, after MS-DOS."""


def altered_record(path: Path) -> str | None:
    """Which record is not as torch.save writes it, in words; None where all are.

    Raises:
        Exception: what zipfile raises on files that are no whole zip files, of many kinds.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        for record in records:  # before any is read: a few packed bytes may stand for gigabytes
            if record.compress_type != zipfile.ZIP_STORED:
                return f"'{record.filename}' in it is packed, as torch.save never does"
        # Of a record marked as a folder torch.load reads nothing, and gives stray memory.
        folders = (record.filename for record in records if record.external_attr & FOLDER)
        altered = archive.testzip() or next(folders, None)
    return None if altered is None else f"'{altered}' in it does not fit its checksum or kind"
