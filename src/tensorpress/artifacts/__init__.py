"""A compressed network and one file."""

from tensorpress.artifacts.load import load
from tensorpress.artifacts.manifest import LayerEntry, Manifest, read_manifest
from tensorpress.artifacts.save import save

__all__ = [
    "LayerEntry",
    "Manifest",
    "load",
    "read_manifest",
    "save",
]
