"""What layers give in a forward pass, kept for a loss to compare."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F


@contextlib.contextmanager
def kept_outputs(
    net: nn.Module, names: Sequence[str], *, only_training: bool = False
) -> Iterator[dict[str, list[Tensor]]]:
    """The outputs of these layers at each call, by name, until they are cleared.

    ``only_training`` keeps those of calls in training mode alone.
    """
    modules = dict(net.named_modules())
    kept: dict[str, list[Tensor]] = {}

    def keep(name: str, module: nn.Module, _: Any, output: Tensor) -> None:
        if module.training or not only_training:
            kept.setdefault(name, []).append(output)

    hooks = [modules[name].register_forward_hook(partial(keep, name)) for name in names]
    try:
        yield kept
    finally:
        for hook in hooks:
            hook.remove()


def mean_distance(
    names: Sequence[str], found: dict[str, list[Tensor]], wanted: dict[str, list[Tensor]]
) -> Tensor | float:
    """The mean over layers of the squared difference as a share of what is wanted's variance."""
    pairs = [
        pair
        for name in names
        for pair in zip(found.get(name, ()), wanted.get(name, ()), strict=False)
    ]
    losses = [distance(one.float(), other.float()) for one, other in pairs]
    return sum(losses) / len(losses) if losses else 0.0


def distance(found: Tensor, wanted: Tensor) -> Tensor:
    """The mean squared difference as a share of the variance of what is wanted."""
    return F.mse_loss(found, wanted) / wanted.var().clamp(min=1e-12)
