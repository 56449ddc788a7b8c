"""Write a compressed network to one file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from tensorpress.artifacts.digest import digest
from tensorpress.artifacts.entries import entries_in, widths_in
from tensorpress.artifacts.manifest import KEY, Manifest
from tensorpress.artifacts.overflow import refuse_overflow
from tensorpress.artifacts.sharing import place_in_memory
from tensorpress.errors import TensorpressError, first_line, shown
from tensorpress.files import as_path, write_atomically
from tensorpress.surgery import Account
from tensorpress.surgery.wrappers import is_flat_sharded, is_sharded, plain_name, unwrapped
from tensorpress.version import VERSION

STORED_AS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def save(
    model: nn.Module | Account,
    path: Path | str,
    *,
    dtype: torch.dtype | None = None,
    source: Mapping[str, Any] | None = None,
    account: Mapping[str, Any] | None = None,
) -> None:
    """Write a network, compressed or not, to a safetensors file with a manifest.

    Names are those of the network without wrappers: data parallel, compiled, averaged. What
    ``fully_shard`` distributed is gathered, so all processes call this.

    The same network gives the same bytes: the file holds no time and no path. It is written
    aside and renamed, so a crash leaves an older file of that name whole. What was decomposed and
    what was pruned is told with it, in whichever order that was done.

    Args:
        model: the network, or what `compress` gave, whose account is then kept in the file.
        path: the file, by custom with the suffix .tp.
        dtype: store floating-point tensors as this one: ``torch.float16`` or ``torch.bfloat16``
            halves a float32 file. A network that loads it keeps its own dtype.
        source: what to remember of the network, as JSON values: its name, its classes, ...
        account: the account of another file's manifest, for the same network trained further.

    Raises:
        TensorpressError: the file cannot be written, the network's state is not all plain
            tensors with values, a value does not fit into ``dtype``, or ``source`` is not JSON.
    """
    if isinstance(model, Account):
        account = model.to_dict()
        model = model.model
        for row in account["layers"]:
            row["name"] = plain_name(model, row["name"])
    if not isinstance(model, nn.Module):
        raise TensorpressError(
            f"give a network, a torch.nn.Module, or what compress gave, not {shown(model)}."
        )
    for name, told in (("source", source), ("account", account)):
        if told is not None and not isinstance(told, Mapping):
            raise TensorpressError(f"{name}={shown(told)}: give a mapping of JSON values.")
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in STORED_AS):
        raise TensorpressError(
            f"dtype={shown(dtype)} is not one to store weights in: give one of "
            f"{', '.join(map(str, STORED_AS))}, or none to store them as they are."
        )
    with unwrapped(model) as net:
        tensors, held = _contents(net, dtype, source, account)
    try:
        # As it will be read: tuples become lists, and whole numbers as keys become texts.
        content = json.loads(json.dumps(held.to_dict(), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise TensorpressError(
            f"source must hold JSON values only ({first_line(error)})."
        ) from error
    content["sha256"] = digest(content, tensors)
    text = json.dumps(content, sort_keys=True)
    # One metadata key only: safetensors writes several in an order that changes between runs.
    write_atomically(as_path(path), lambda temporary: _write(tensors, temporary, {KEY: text}))


def _contents(
    model: nn.Module,
    dtype: torch.dtype | None,
    source: Mapping[str, Any] | None,
    account: Mapping[str, Any] | None,
) -> tuple[dict[str, Tensor], Manifest]:
    """What a file holds of a network: tensors as they are stored, and the manifest."""
    if any(map(is_flat_sharded, model.modules())):
        raise TensorpressError(
            "the network is in FullyShardedDataParallel, which lays its parameters together: put "
            "its full state dict into the network as it was before, and save that."
        )
    tensors: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    stored: dict[tuple[Any, ...], str] = {}
    for name, value in model.state_dict().items():
        if not isinstance(value, Tensor):
            raise TensorpressError(
                f"'{name}' in the network's state is a {type(value).__name__}, not a tensor, and "
                "cannot be saved safely."
            )
        if is_sharded(value):
            value = cast(Any, value).full_tensor()
        if value.is_meta or value.layout is not torch.strided:
            kind = "is on the meta device" if value.is_meta else f"has the layout {value.layout}"
            raise TensorpressError(f"'{name}' {kind} and cannot be saved.")
        place = place_in_memory(value)
        if value.numel() and place in stored:
            aliases[name] = stored[place]
        else:
            stored[place] = name
            tensors[name] = _as_stored(name, value, dtype)
    held = Manifest(
        VERSION,
        entries_in(model),
        aliases,
        dict(source or {}),
        dict(account) if account else None,
        widths_in(model),
    )
    return tensors, held


def _as_stored(name: str, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    value = value.detach().cpu()
    if dtype is None or not value.is_floating_point():
        return value.clone().contiguous()
    stored = value.to(dtype, copy=True).contiguous()
    refuse_overflow(name, value, stored, "store it as torch.bfloat16 or torch.float32")
    return stored


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
