"""Write a compressed network to one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from tensorpress.artifacts.atomic import write_atomically
from tensorpress.artifacts.manifest import KEY, LayerEntry, Manifest
from tensorpress.errors import TensorpressError
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
        TensorpressError: the file cannot be written, or the network's state is not all tensors.
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
        place = (value.data_ptr(), value.shape, value.stride(), value.dtype)
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
    # One metadata key only: safetensors writes several in an order that changes between runs.
    metadata = {KEY: manifest.to_json()}
    write_atomically(Path(path), lambda temporary: save_file(tensors, temporary, metadata))
