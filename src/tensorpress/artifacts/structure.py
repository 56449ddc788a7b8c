"""The structure of a compressed network apart from its weights."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tensorpress.artifacts.entries import entries_in, widths_in
from tensorpress.artifacts.manifest import (
    DAMAGED,
    VERSION,
    LayerEntry,
    layers_from_json,
    layers_to_json,
    read_manifest,
    read_version,
    widths_from_json,
)
from tensorpress.artifacts.rebuild import known_methods, plan_layers, put_layers
from tensorpress.artifacts.recorded_account import check_history, story_of
from tensorpress.errors import TensorpressError, shown
from tensorpress.files import as_path
from tensorpress.layers import Treatment
from tensorpress.surgery import Account, history_of, refuse_unready, remember
from tensorpress.surgery.wrappers import unwrapped


def structure(model: nn.Module | Account) -> dict[str, Any]:
    """What a compressed or pruned network consists of, as JSON values: a few kilobytes.

    With it :func:`restructure` makes a freshly built network the same but for the weights, which
    any checkpoint may hold: ``torch.save(model.state_dict(), ...)``, Lightning's, Transformers'.

    Args:
        model: the network, or what `compress` gave; what `DataParallel` or ``torch.compile`` put
            around it is left out.

    Returns:
        ``{"version": ..., "layers": {name: {"method": ..., "ranks": [...]}}, "widths": ...,
        "history": ...}``, in the format of the manifest of `.tp` files.

    Raises:
        TensorpressError: no network.

    >>> from tensorpress import Ranks, compress
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3))
    >>> structure(compress(net, torch.zeros(1, 3, 9, 9), rank=Ranks(2, 3, 4)))["layers"]
    {'1': {'method': 'ttpwt', 'ranks': [2, 3, 4]}}
    """
    net = model.model if isinstance(model, Account) else model
    refuse_unready(net)
    with unwrapped(net) as inside:
        return {
            "version": VERSION,
            "layers": layers_to_json(entries_in(inside)),
            "widths": widths_in(inside),
            "history": [dict(step) for step in history_of(inside)],
        }


def restructure(
    net: nn.Module,
    structure: Mapping[str, Any] | Path | str,
    *,
    methods: Sequence[Treatment] = (),
) -> nn.Module:
    """Give a freshly built network the structure of a compressed one; its weights come after.

    The new layers have weights as PyTorch draws them; ``load_state_dict`` then takes those of the
    compressed network. Optimisers are made afterwards, of the parameters as they are now: these
    are in the same order, so that an optimiser's ``load_state_dict`` fits too. All other layers
    keep their weights. On the meta device nothing is drawn, and ``load_state_dict(...,
    assign=True)`` or ``to_empty`` follows.

    Args:
        net: the network as it was before compression or pruning, with any weights, on any device.
            It is changed.
        structure: what `structure` gave, a file of it as JSON, or a `.tp` file.
        methods: as for `load`.

    Returns:
        the network (another module only if the network was itself one layer).

    Raises:
        TensorpressError: no structure or file, a damaged one or one of another network, or a
            ``net`` that is lazy or has hooks on a layer to be replaced. ``net`` is then as it was.

    >>> from tensorpress import Ranks, compress
    >>> make = lambda: nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 16, 3))
    >>> small = compress(make(), torch.zeros(1, 3, 9, 9), rank=Ranks(2, 3, 4)).model
    >>> again = restructure(make(), structure(small))
    >>> again.load_state_dict(small.state_dict())
    <All keys matched successfully>
    """
    named, layers, widths, history = _read(structure)
    refuse_unready(net)
    planned = plan_layers(named, net, layers, widths, known_methods(methods), needs_values=False)
    places = set(planned.built)
    model = put_layers(net, planned)
    for name in places:
        _draw(model.get_submodule(name))
    if history:
        remember(model, history)
    return model


def _draw(layer: nn.Module) -> None:
    """Weights as the parts of a new layer draw them, and zeros where they draw none."""
    with torch.no_grad():
        for value in (*layer.parameters(), *layer.buffers()):
            value.zero_()
    for module in layer.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()


Parts = tuple[str, dict[str, LayerEntry], dict[str, dict[str, int]], list[dict[str, Any]]]
"""What it is called in messages, the layers, their widths and what was done to the network."""


def _read(given: Mapping[str, Any] | Path | str) -> Parts:
    if isinstance(given, Mapping):
        return _parsed(given, "the structure")
    if not isinstance(given, (str, os.PathLike)):
        raise TensorpressError(
            f"{shown(given)} is no structure: give what tensorpress.structure gave, or a file."
        )
    path = as_path(given)
    if path.suffix != ".json":
        manifest = read_manifest(path)
        history = [] if manifest.account is None else story_of(manifest.account)
        return str(path), manifest.layers, manifest.widths, history
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise TensorpressError(f"there is no file {path}.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise TensorpressError(f"{path} cannot be read as JSON ({shown(error, 200)}).") from error
    return _parsed(content, str(path))


def _parsed(content: Any, named: str) -> Parts:
    try:
        read_version(content, named)
        history = content.get("history", [])
        check_history(history)
        layers = layers_from_json(content["layers"])
        return named, layers, widths_from_json(content.get("widths", {})), history
    except DAMAGED as error:
        raise TensorpressError(
            f"{named} is damaged or none ({shown(error, 200)}): give what tensorpress.structure "
            "gave."
        ) from error
