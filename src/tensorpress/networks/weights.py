"""Weight files as people have them, into a network."""

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from tensorpress.errors import LONGEST_LINE, TensorpressError, first_line, shown
from tensorpress.files import as_path, composed
from tensorpress.networks.weight_file import StoredArray, read_weight_file
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
    networks leave them. The network may be a part of what was saved, under whatever name, if it is
    one part alone. What ours call `linear` and `shortcut` may be called `fc` and `downsample`.
    They are converted to the dtype and device of `net`. Every weight must be there with its shape;
    only `num_batches_tracked` may be absent. Counters of profilers and averages are left out.

    Files are read with `weights_only=True`: code in a pickle never runs.

    Parameters:
        ema: take the running average of the weights, where the file holds one beside them
            (`state_dict_ema`, `ema`, `params_ema` and such). Which were taken is said.
        allow_extra: leave out weights that the network has no place for; how many is said.

    Raises:
        TensorpressError: no such file, a truncated or foreign one, one that would run code, or
            weights of another network. `net` is then as it was.
    """
    path = as_path(file)
    if not isinstance(net, nn.Module):
        raise TensorpressError(f"give a network, a torch.nn.Module, not {shown(net)}.")
    state = net.state_dict()
    prefix = _prefix(state)
    own = {_plain(name, prefix): (name, value) for name, value in state.items()}
    weights, versions = _state_dict(path, read_weight_file(path), own, ema=ema)
    named = {_name_in(own, name, weights): weight for name, weight in weights.items()}
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
        left = f"{len(extra)} ({_listed(extra)})"
        announce(f"{path}: left out, as the network has no place for them: {left}")
    given = OrderedDict((own_name, named[name]) for name, (own_name, _) in own.items())
    # By what it says of the versions of modules, they read what older ones wrote.
    modules = {_plain(f"{name}.", prefix)[:-1]: name for name, _ in net.named_modules() if name}
    modules[""] = prefix[:-1]
    given._metadata = {  # type: ignore[attr-defined]
        modules[ours]: entry
        for name, entry in versions.items()
        if (ours := _name_in(modules, name, versions)) in modules
    } or state._metadata  # type: ignore[attr-defined]
    _put(path, net, given)
    return net


def _put(path: Path, net: nn.Module, given: Mapping[str, Any]) -> None:
    """Load weights that fit; where a module's own loading fails, the network stays as it was."""
    kept = [(v, v.detach().clone()) for v in net.state_dict().values() if _is_filled(v)]
    try:
        net.load_state_dict(given)
    except Exception as error:  # modules load by code of their own
        with torch.no_grad():
            for value, before in kept:
                value.copy_(before)
        # PyTorch says what went wrong below a heading.
        heading, _, below = str(error).partition("\n")
        told = below.strip() if heading.startswith("Error(s) in loading") else ""
        reason = " ".join(told.split())[:LONGEST_LINE] or first_line(error)
        raise TensorpressError(f"{path} cannot be loaded: {reason}") from error


def _is_filled(value: object) -> bool:
    return isinstance(value, Tensor) and not is_lazy(value) and not value.is_meta


def _state_dict(
    path: Path, content: object, own: Mapping[str, Any], *, ema: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The weights by plain names, and what the file says of the versions of their modules."""
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
    named = {str(key): _read(value) for key, value in content.items()}
    if not any(isinstance(value, Tensor) for value in named.values()):
        seen = ", ".join(list(named)[:_SHOWN]) or "nothing"
        raise TensorpressError(f"{path} holds no weights by name; found in it: {seen}")
    named = {
        name: value
        for name, value in named.items()
        if name.rpartition(".")[2] not in _COUNTERS or name in own
    }
    prefix = _prefix({name: v for name, v in named.items() if isinstance(v, Tensor)})
    prefix += _above(path, {_plain(name, prefix) for name in named}, own)
    found = getattr(content, "_metadata", None)
    versions = {
        _plain(f"{name}." if name else "", prefix)[:-1]: entry
        for name, entry in (found.items() if isinstance(found, Mapping) else ())
        if isinstance(entry, Mapping) and f"{name}.".replace("_orig_mod.", "").startswith(prefix)
    }
    return {_plain(name, prefix): value for name, value in named.items()}, versions


def _read(value: object) -> object:
    """A weight as a tensor, where it was stored as an array."""
    if isinstance(value, StoredArray):
        tensor = value.tensor()
        return value if tensor is None else tensor
    return value


def _unwrapped(content: object) -> tuple[object, object | None]:
    """The weights in a checkpoint, and their average where it holds one besides."""
    averaged: object | None = None
    opened: set[int] = set()  # a pickle may hold a dict that holds itself
    while isinstance(content, Mapping) and id(content) not in opened:
        opened.add(id(content))
        means = [content[key] for key in _AVERAGES if _may_hold_weights(content.get(key))]
        nested = [content[key] for key in _WRAPPERS if _may_hold_weights(content.get(key))]
        if means:
            averaged = _innermost(means[0], opened)
        if not nested:
            return averaged if means else content, averaged
        content = nested[0]
    return content, averaged


def _innermost(content: object, opened: set[int]) -> object:
    while isinstance(content, Mapping) and id(content) not in opened:
        opened.add(id(content))
        keys = (*_WRAPPERS, *_AVERAGES)
        nested = [content[key] for key in keys if _may_hold_weights(content.get(key))]
        if not nested:
            break
        content = nested[0]
    return content


def _may_hold_weights(value: object) -> bool:
    """Whether it holds tensors, or something that may hold them in turn."""
    return isinstance(value, Mapping) and any(
        isinstance(held, (Tensor, StoredArray, Mapping)) for held in value.values()
    )


def _prefix(weights: Mapping[str, Any]) -> str:
    """What the wrappers of a network put before all names."""
    names = [name.replace("_orig_mod.", "") for name in weights]
    found = ""
    while prefix := next((p for p in _PREFIXES if names and _all_start(names, found + p)), None):
        found += prefix
    return found


def _above(path: Path, names: Set[str], own: Mapping[str, Any]) -> str:
    """What stands before the names of a network that is a part of what was saved.

    Such as "model." beside a "criterion.", or "backbone."; nothing where it is no part of it.

    Raises:
        TensorpressError: it is several parts of it.
    """
    wanted = [name for name in own if not name.endswith("num_batches_tracked")]
    if not wanted or wanted[0] in names:
        return ""
    ends = f".{wanted[0]}"
    before = {name.removesuffix(wanted[0]) for name in names if name.endswith(ends)}
    found = sorted(part for part in before if all(part + name in names for name in wanted))
    if len(found) > 1:
        raise TensorpressError(
            f"{path} holds several networks of this kind, under {', '.join(found)}: save the one "
            "that is meant by itself"
        )
    return found[0] if found else ""


def _all_start(names: Sequence[str], prefix: str) -> bool:
    return all(name.startswith(prefix) for name in names)


def _plain(name: str, prefix: str) -> str:
    return composed(name.replace("_orig_mod.", "").removeprefix(prefix))


def _name_in(own: Mapping[str, Any], name: str, given: Mapping[str, Any]) -> str:
    """What the network calls it, if that is another name which the file does not have too."""
    ours = ".".join(_ALSO_CALLED.get(part, part) for part in name.split("."))
    return ours if name not in own and ours in own and ours not in given else name


def _check_fit(
    path: Path, net: nn.Module, own: Mapping[str, Any], weights: Mapping[str, Any]
) -> None:
    reshaped = {
        name: (_shape(weights[name]), _shape(value))
        for name, value in own.items()
        if name in weights and not is_lazy(value) and _shape(weights[name]) != _shape(value)
    }
    unexpected = [name for name in weights if name not in own]
    odd = [
        f"{name} {kind}"
        for name, value in own.items()
        if name in weights and (kind := _odd_kind(weights[name], value))
    ]
    complaints = [
        _complaint("missing", [name for name in own if name not in weights]),
        _complaint("unexpected", unexpected),
        _complaint("of another shape", [f"{n} {g}, here {h}" for n, (g, h) in reshaped.items()]),
        _complaint("of another kind", odd),
    ]
    told = [complaint for complaint in complaints if complaint]
    hint = ""
    if told == complaints[1:2]:
        hint = _ALLOW
    elif told == complaints[2:3]:
        hint = _classes_hint(own, reshaped)
    if told:
        raise TensorpressError(
            f"{path} holds the weights of another network than {type(net).__name__}: "
            f"{'; '.join(told)}{hint}"
        )


def _classes_hint(
    own: Mapping[str, Any], reshaped: Mapping[str, tuple[tuple[int, ...] | str, ...]]
) -> str:
    """What to do where the last layer alone differs, and in the number of its outputs alone."""
    last = [*own][-1].rpartition(".")[0]
    counts = {
        (given[0], here[0]) if given and given[1:] == here[1:] and here else None
        for given, here in reshaped.values()
    }
    others = any(name.rpartition(".")[0] != last for name in reshaped)
    if others or len(counts) != 1 or (both := counts.pop()) is None:
        return ""
    given, here = both
    return (
        f"; if these are its classes, the weights are of {given} and not of {here}: give "
        f"num_classes={given} (--classes {given}), and data of as many"
    )


def _odd_kind(weight: object, own: object) -> str:
    """What a weight is that a dense one of real numbers does not become as it is; else nothing."""
    if not isinstance(weight, Tensor) or not isinstance(own, Tensor):
        return ""
    if weight.is_meta:
        return "without values"
    if weight.layout is not own.layout:
        return str(weight.layout)
    if weight.dtype in (torch.int8, torch.uint8) and own.is_floating_point():
        return f"{weight.dtype}, as quantised ones are"
    return str(weight.dtype) if weight.is_complex() and not own.is_complex() else ""


def _shape(value: object) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__


def _complaint(kind: str, names: list[str]) -> str:
    return f"{len(names)} {kind} ({_listed(names)})" if names else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
