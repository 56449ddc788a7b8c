"""The manifest: how a compressed network is built, as JSON in the metadata of its file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from tensorpress.artifacts.layouts import layout_from_json, layout_to_json
from tensorpress.artifacts.recorded_account import check_account
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path
from tensorpress.layers.layout import Layout
from tensorpress.layers.widths import ATTRIBUTES

KEY = "tensorpress"
LONGEST_NAME = 1000
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError)
VERSION = 3
"""Goes up with a change that an older reader would misunderstand. Version 2 added the account and
the digest, which version 1 does without; version 3 the widths of narrowed layers,
and the layouts of chains whose method is not built in."""


@dataclass(frozen=True)
class LayerEntry:
    """A layer that was treated.

    Attributes:
        method: the treatment's name.
        ranks: R1, R2, ..., or what else `Treatment.stored_ranks` gives.
        layout: of a chain whose method is not built in, its sublayers.
    """

    method: str
    ranks: tuple[int, ...]
    layout: Layout = ()


@dataclass(frozen=True)
class Manifest:
    """What a file says of its network.

    Attributes:
        tool: version of tensorpress that wrote it.
        layers: factorized layers by name.
        aliases: names of tensors that are stored under another name.
        source: what the writer said of the network: its name, classes, normalisation, ...
        account: what the compression did, as `Account.to_dict` gives it; None where the writer
            had none.
        widths: of the layers that are narrower than in the network as it was, the attributes that
            say so and their values, by layer; none before version 3.
        version: of the format.
        sha256: the :func:`digest` that the file claims; None in version 1.
    """

    tool: str
    layers: dict[str, LayerEntry]
    aliases: dict[str, str] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    account: dict[str, Any] | None = None
    widths: dict[str, dict[str, int]] = field(default_factory=dict)
    version: int = VERSION
    sha256: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The manifest as JSON values, without the digest, which is made of them."""
        content = {
            "version": self.version,
            "tool": self.tool,
            "layers": layers_to_json(self.layers),
            "aliases": self.aliases,
            "source": self.source,
            "account": self.account,
        }
        return content | ({"widths": self.widths} if self.version > 2 else {})


def layers_to_json(layers: Mapping[str, LayerEntry]) -> dict[str, Any]:
    """Such as {"conv2": {"method": "ttpwt", "ranks": [4, 6, 5]}}."""
    return {
        name: {"method": entry.method, "ranks": list(entry.ranks)}
        | ({"layout": layout_to_json(entry.layout)} if entry.layout else {})
        for name, entry in layers.items()
    }


def layers_from_json(content: Any) -> dict[str, LayerEntry]:
    """What :func:`layers_to_json` gave; one of :data:`DAMAGED` where it is not that."""
    return {_text(name): _entry(entry) for name, entry in content.items()}


def widths_from_json(content: Any) -> dict[str, dict[str, int]]:
    """The widths of layers, by name and attribute; one of :data:`DAMAGED` where it is not that."""
    return {
        _text(name): {attribute: _width(attribute, value) for attribute, value in held.items()}
        for name, held in content.items()
    }


def read_version(content: Any, whose: str) -> int:
    """The version of the format that a manifest or structure is in.

    Raises:
        TensorpressError: a later one than this tensorpress reads.
        ValueError, KeyError, TypeError: none.
    """
    version = content["version"]
    if type(version) is not int or version < 1:
        raise ValueError("no version")
    if version > VERSION:
        raise TensorpressError(
            f"{whose} has format version {version}, and this tensorpress reads up to "
            f"{VERSION}: upgrade tensorpress."
        )
    return version


_WEIGHTS = "plain weights are read with load_weights or --weights."


def read_manifest(path: Path | str) -> Manifest:
    """Read the manifest of a file without reading its weights.

    Raises:
        TensorpressError: no such file, not a tensorpress file, damaged, or of a later version.
    """
    path = as_path(path)
    if path.is_dir():
        raise TensorpressError(f"{path} is a folder: give the file in it, {path / 'model.tp'}.")
    if not path.is_file():
        raise TensorpressError(f"there is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError, ValueError) as error:
        raise TensorpressError(
            f"{path} cannot be read as a tensorpress file ({error}): it is damaged or foreign; "
            f"{_WEIGHTS}"
        ) from error
    if KEY not in metadata:
        raise TensorpressError(
            f"{path} has no tensorpress manifest: give a file written by tensorpress (model.tp); "
            f"{_WEIGHTS}"
        )
    return _parse(metadata[KEY], path)


def _parse(text: str, path: Path) -> Manifest:
    try:
        content = json.loads(text)
        version = read_version(content, str(path))
        layers = layers_from_json(content["layers"])
        aliases = {str(name): str(stored) for name, stored in content["aliases"].items()}
        source, account = dict(content["source"]), content.get("account")
        if account is not None:
            check_account(account)
        widths = widths_from_json(content["widths"] if version > 2 else {})
        claimed = str(content["sha256"]) if version > 1 else None
        tool = str(content["tool"])
        return Manifest(tool, layers, aliases, source, account, widths, version, claimed)
    except DAMAGED as error:
        raise TensorpressError(
            f"the manifest of {path} is damaged ({shown(error, 200)})."
        ) from error


def _entry(content: Any) -> LayerEntry:
    layout = layout_from_json(content["layout"]) if "layout" in content else ()
    return LayerEntry(_text(content["method"]), tuple(map(_rank, content["ranks"])), layout)


def _text(value: Any) -> str:
    """A name: what a message can show on one line."""
    if not isinstance(value, str) or not value.isprintable() or len(value) > LONGEST_NAME:
        raise ValueError(f"name {shown(value)}")
    return value


def _rank(value: Any) -> int:
    return _whole("rank", value)


def _width(attribute: str, value: Any) -> int:
    if attribute not in ATTRIBUTES:
        raise ValueError(f"width {shown(attribute)}")
    return _whole(attribute, value)


def _whole(what: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{what} {shown(value)}")
    return value
