"""A compressed network and one file."""

from tensorpress.artifacts.load import load
from tensorpress.artifacts.manifest import LayerEntry, Manifest, read_manifest
from tensorpress.artifacts.recorded_account import ratios_in_all
from tensorpress.artifacts.save import save
from tensorpress.artifacts.structure import restructure, structure

__all__ = [
    "LayerEntry",
    "Manifest",
    "load",
    "ratios_in_all",
    "read_manifest",
    "restructure",
    "save",
    "structure",
]
