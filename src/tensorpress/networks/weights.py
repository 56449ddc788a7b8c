"""Weight files as people have them, into a network."""

import os
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tensorpress.errors import TensorpressError
from tensorpress.networks.weight_file import read_weight_file
from tensorpress.progress import announce

Network = TypeVar("Network", bound=nn.Module)

_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params", "weights", "module")
_AVERAGES = ("state_dict_ema", "ema_state_dict", "model_ema", "params_ema", "ema")
_PREFIXES = ("module.", "model.", "net.")
_COUNTERS = ("n_averaged", "total_ops", "total_params")
"""What averages of weights and profilers leave beside the weights."""
_ALSO_CALLED = {"fc": "linear", "downsample": "shortcut"}
"""Names in the weight files of others for parts of our networks."""
_ALLOW = "; allow_extra=True (--allow-extra) leaves out what it has no place for"
_SHOWN = 3


def load_weights(
    net: Network,
    file: str | os.PathLike[str],
    *,
    ema: bool = False,
    allow_extra: bool = False,
) -> Network:
    """Load the weights in `file` into `net`, in place, and return `net`.

    Reads what `torch.save` writes (new and old format) and safetensors, told apart by content.
    The weights may stand under `state_dict`, `model_state_dict`, `model`, `net`, `params` or
    `weights`, with settings, dates and numbers beside them, and all their names may start with
    `module.`, `model.` or `net.` or hold `_orig_mod.`, as data parallel, Lightning and compiled
    networks leave them; what ours call `linear` and `shortcut` may be called `fc` and `downsample`.
    They are converted to the dtype and device of `net`. Every weight must be there with its shape;
    only `num_batches_tracked` may be absent. Counters of profilers and averages are left out.

    Files are read with `weights_only=True`: code in a pickle never runs.

    Parameters:
        ema: take the running average of the weights, where the file holds one beside them
            (`state_dict_ema`, `ema`, `params_ema` and such). Which were taken is said.
        allow_extra: leave out weights that the network has no place for, and say how many.

    Raises:
        TensorpressError: no such file, a truncated or foreign one, one that would run code, or
            weights of another network. `net` is then as it was.
    """
    path = Path(file)
    weights = _state_dict(path, read_weight_file(path), ema=ema)
    own = _plain_names(net.state_dict())
    named = {_name_in(own, name): weight for name, weight in weights.items()}
    extra = [name for name in named if name not in own] if allow_extra else []
    for name in extra:
        del named[name]
    named |= {
        name: value
        for name, (_, value) in own.items()
        if name not in named and name.endswith("num_batches_tracked")
    }
    _check_fit(path, net, {name: value for name, (_, value) in own.items()}, named)
    if extra:
        announce(f"{path}: left out, as the network has no place for them: {_listed(extra)}")
    state = OrderedDict((own_name, named[name]) for name, (own_name, _) in own.items())
    # By what it says of the versions of layers, they read what older ones wrote.
    state._metadata = {  # type: ignore[attr-defined]
        _module(own_name): weights.versions[_module(name)]
        for name, (own_name, _) in own.items()
        if _module(name) in weights.versions
    }
    net.load_state_dict(state)
    return net


class _Named(dict[str, Any]):
    """Weights by plain names, and what the file says of the versions of their modules."""

    versions: Mapping[str, Any] = {}


def _state_dict(path: Path, content: object, *, ema: bool) -> _Named:
    content, averaged = _unwrapped(content)
    if ema and averaged is None:
        raise TensorpressError(
            f"{path} holds no running average of the weights (one of {', '.join(_AVERAGES)}): "
            "leave ema (--ema) out"
        )
    if averaged is not None and averaged is not content:
        taken = "the average is taken" if ema else "the weights are taken, the average with --ema"
        announce(f"{path} holds weights and a running average of them: {taken} (ema=True).")
        content = averaged if ema else content
    if not isinstance(content, Mapping):
        raise TensorpressError(
            f"{path} holds an object of type {type(content).__name__}, not weights by name"
        )
    if not any(isinstance(value, (Tensor, np.ndarray)) for value in content.values()):
        seen = ", ".join(str(key) for key in list(content)[:_SHOWN]) or "nothing"
        raise TensorpressError(f"{path} holds no weights by name; found in it: {seen}")
    named = {
        str(key): torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        for key, value in content.items()
        if str(key).rpartition(".")[2] not in _COUNTERS
    }
    plain = _plain_names(named)
    found = _Named({name: value for name, (_, value) in plain.items()})
    versions = getattr(content, "_metadata", None) or {}
    found.versions = {
        _module(name): versions[_module(there)]
        for name, (there, _) in plain.items()
        if _module(there) in versions
    }
    return found


def _unwrapped(content: object) -> tuple[object, object | None]:
    """The weights in a checkpoint, and their average where it holds one besides."""
    opened: set[int] = set()  # a pickle may hold a dict that holds itself
    averaged: object | None = None
    while isinstance(content, Mapping) and id(content) not in opened:
        opened.add(id(content))
        means = [content[key] for key in _AVERAGES if isinstance(content.get(key), Mapping)]
        nested = [content[key] for key in _WRAPPERS if isinstance(content.get(key), Mapping)]
        if means:
            averaged = _unwrapped(means[0])[0] if id(means[0]) not in opened else None
        if not (nested or means):
            break
        content = (nested or means)[0]
    return content, averaged


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _plain_names(weights: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """{name without the wrappers' prefixes: (name, weight)}."""
    plain = {name: name.replace("_orig_mod.", "") for name in weights}
    while prefix := next((p for p in _PREFIXES if _all_start(plain, p)), None):
        plain = {name: short.removeprefix(prefix) for name, short in plain.items()}
    return {short: (name, weights[name]) for name, short in plain.items()}


def _name_in(own: Mapping[str, Any], name: str) -> str:
    ours = ".".join(_ALSO_CALLED.get(part, part) for part in name.split("."))
    return ours if name not in own and ours in own else name


def _all_start(plain: Mapping[str, str], prefix: str) -> bool:
    return bool(plain) and all(short.startswith(prefix) for short in plain.values())


def _check_fit(
    path: Path, net: nn.Module, own: Mapping[str, Any], weights: Mapping[str, Any]
) -> None:
    reshaped = [
        f"{name} {_shape(weights[name])}, here {_shape(value)}"
        for name, value in own.items()
        if name in weights and not is_lazy(value) and _shape(weights[name]) != _shape(value)
    ]
    unexpected = [name for name in weights if name not in own]
    complaints = [
        _complaint("missing", [name for name in own if name not in weights]),
        _complaint("unexpected", unexpected),
        _complaint("of another shape", reshaped),
    ]
    if any(complaints):
        raise TensorpressError(
            f"{path} holds the weights of another network than {type(net).__name__}: "
            + "; ".join(complaint for complaint in complaints if complaint)
            + (_ALLOW * (bool(unexpected) and not complaints[0] and not complaints[2]))
        )


def _shape(value: object) -> object:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _complaint(kind: str, names: list[str]) -> str:
    return f"{len(names)} {kind} ({_listed(names)})" if names else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
