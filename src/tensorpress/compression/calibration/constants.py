"""Layers whose constants are of no account."""

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn

from tensorpress.compression.calibration.statistics import batch_norms
from tensorpress.compression.calibration.watching import run_watched
from tensorpress.rows import Rows


def followed_by_batch_norm(net: nn.Module, names: Collection[str], images: Rows) -> set[str]:
    """Those of the layers whose output goes into a batch norm, which takes out any constant."""
    given: dict[int, tuple[str, Tensor, int]] = {}
    found: set[str] = set()

    def gives(name: str) -> Callable[..., None]:
        def leave(_module: nn.Module, _args: Any, output: Tensor) -> None:
            # The tensor is kept, so that its id stays its own.
            given[id(output)] = (name, output, output._version)

        return leave

    def takes(_module: nn.Module, args: Any) -> None:
        name, output, version = given.get(id(args[0]) if args else 0, ("", None, 0))
        if output is not None and output._version == version:  # not changed in place meanwhile
            found.add(name)

    handles = [net.get_submodule(name).register_forward_hook(gives(name)) for name in names]
    handles += [norm.register_forward_pre_hook(takes) for norm in batch_norms(net)]
    run_watched(net, [images], handles)
    return found
