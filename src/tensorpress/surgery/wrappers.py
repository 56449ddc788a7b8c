"""Networks in wrappers: data parallel, compiled, averaged, sharded."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tensorpress.errors import TensorpressError

HELD_AS = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "OptimizedModule": "_orig_mod",
}
"""The attribute in which a wrapper holds what it wraps, by PyTorch's name of its class.

By name, because some of them take seconds to import.
"""


def inside(net: nn.Module) -> nn.Module:
    """The network without the wrappers around it."""
    while (held := _held_as(net)) is not None:
        net = getattr(net, held)
    return net


@contextmanager
def unwrapped(net: nn.Module) -> Iterator[nn.Module]:
    """The network without wrappers around it or in it, whose names are then plain.

    Afterwards the wrappers in it are back, around what then stands in their places.
    """
    plain = inside(net)
    lifted: list[tuple[nn.Module, str, nn.Module]] = []
    try:
        _lift(plain, lifted)
        yield plain
    finally:
        for parent, name, wrapper in reversed(lifted):
            last = wrapper
            while _held_as(inner := getattr(last, str(_held_as(last)))) is not None:
                last = inner
            setattr(last, str(_held_as(last)), parent._modules[name])
            parent._modules[name] = wrapper


def plain_name(net: nn.Module, name: str) -> str:
    """The name that a module or tensor of ``net`` has where nothing is wrapped."""
    parts, module = [], net
    for part in name.split("."):
        if part != _held_as(module):
            parts.append(part)
        module = getattr(module, part, None)  # type: ignore[assignment]
    return ".".join(parts)


def refuse_distributed(net: nn.Module, what: str, *, copied: bool = False) -> None:
    """Raise if other processes hold parts of a network, or follow its present parameters.

    Args:
        copied: whether it stays as it is, so that it may be followed.

    Raises:
        TensorpressError: it says to do ``what`` first.
    """
    for module in net.modules():
        sharded = any(map(is_sharded, module.parameters(recurse=False)))
        followed = isinstance(module, DistributedDataParallel) and not copied
        if followed or sharded or is_flat_sharded(module):
            kind = type(module).__name__ if not sharded else "fully_shard"
            raise TensorpressError(
                f"the network is distributed ({kind}), and others would not follow what changes in "
                f"it: {what} first, and distribute it then."
            )


def is_flat_sharded(module: nn.Module) -> bool:
    """Whether it is an older ``FullyShardedDataParallel``, whose parameters lie in one another."""
    return "FullyShardedDataParallel" in _names(module)


def is_sharded(tensor: Tensor) -> bool:
    """Whether ``fully_shard`` or the like made it a part of a tensor on several processes."""
    return "DTensor" in _names(tensor)


def _held_as(module: Any) -> str | None:
    return next((HELD_AS[name] for name in _names(module) if name in HELD_AS), None)


def _names(value: Any) -> list[str]:
    """The names of an object's classes that are PyTorch's."""
    return [c.__name__ for c in type(value).__mro__ if c.__module__.split(".")[0] == "torch"]


def _lift(module: nn.Module, lifted: list[tuple[nn.Module, str, nn.Module]]) -> None:
    for name, child in list(module._modules.items()):
        if child is None:
            continue
        plain = inside(child)
        if plain is not child:
            module._modules[name] = plain
            lifted.append((module, name, child))
        _lift(plain, lifted)
