"""Forward passes that hooks look on at."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tensorpress.rows import Rows, run
from tensorpress.surgery import evaluating


@torch.no_grad()
def run_watched(net: nn.Module, images: Rows, handles: Sequence[RemovableHandle]) -> None:
    """Run ``net`` in eval mode, then remove the hooks, also after an error."""
    try:
        with evaluating(net):
            run(net, images)
    finally:
        for handle in handles:
            handle.remove()


def fed(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What a layer is called with, by position or by name."""
    return args[0] if args else next(iter(kwargs.values()))
