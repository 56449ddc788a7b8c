"""Write a compressed network to one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from tensorpress.artifacts.manifest import KEY, LayerEntry, Manifest
from tensorpress.artifacts.sharing import place_in_memory
from tensorpress.errors import TensorpressError
from tensorpress.files import write_atomically
from tensorpress.layers import Factorized
from tensorpress.version import VERSION


def save(model: nn.Module, path: Path | str, *, source: Mapping[str, Any] | None = None) -> None:
    """Write a network, compressed or not, to a safetensors file with a manifest.

    The same network gives the same bytes: the file holds no time and no path. It is written
    aside and renamed, so a crash leaves an older file of that name whole.

    Args:
        path: the file, by custom with the suffix .tp.
        source: what to remember of the network, as JSON values: its name, its classes, ...

    Raises:
        TensorpressError: the file cannot be written, the network's state is not all plain
            tensors with values, or ``source`` is not JSON.
    """
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    stored: dict[tuple[Any, ...], str] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TensorpressError(
                f"'{name}' in the network's state is a {type(value).__name__}, not a tensor, and "
                "cannot be saved safely."
            )
        if value.is_meta or value.layout is not torch.strided:
            kind = "is on the meta device" if value.is_meta else f"has the layout {value.layout}"
            raise TensorpressError(f"'{name}' {kind} and cannot be saved.")
        place = place_in_memory(value)
        if value.numel() and place in stored:
            aliases[name] = stored[place]
        else:
            stored[place] = name
            tensors[name] = value.detach().cpu().clone().contiguous()
    layers = {
        name: LayerEntry(module.method, module.ranks)
        for name, module in model.named_modules()
        if isinstance(module, Factorized)
    }
    manifest = Manifest(VERSION, layers, aliases, dict(source or {}))
    try:
        text = manifest.to_json()
    except (TypeError, ValueError) as error:
        raise TensorpressError(f"source must hold JSON values only ({error}).") from error
    # One metadata key only: safetensors writes several in an order that changes between runs.
    write_atomically(Path(path), lambda temporary: _write(tensors, temporary, {KEY: text}))


def _write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    try:
        save_file(tensors, path, metadata)
    except SafetensorError as error:
        # This is how a full disk shows.
        raise OSError(str(error)) from error
    except KeyError as error:
        raise TensorpressError(
            f"the network holds tensors of {error}, which no safetensors file holds."
        ) from error
