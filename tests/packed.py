"""Zip files whose records are packed."""

import zipfile
from pathlib import Path


def packed(path: Path) -> None:
    """Pack the records of a zip file that stores them, and damage what is packed.

    So that whoever reads it fails otherwise than whoever looks first at how it is kept.
    """
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    damaged = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        first = archive.infolist()[0]
    damaged[first.header_offset + 30 + len(first.filename)] ^= 0xFF
    path.write_bytes(damaged)
