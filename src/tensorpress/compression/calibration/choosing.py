"""Layers whose rows a network chooses by their values, as the best tokens or proposals."""

from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from tensorpress.compression.calibration.watching import run_watched
from tensorpress.graphs import GraphNetwork
from tensorpress.rows import Rows
from tensorpress.surgery import tensor_leaves

CHOOSING = {
    *("topk", "kthvalue", "sort", "argsort", "msort", "nonzero", "nonzero_static", "multinomial"),
    *("masked_select", "unique_dim", "unique_consecutive", "_unique", "_unique2", "nms"),
}
BY_MASK = {"index", "index_put", "index_put_", "_index_put_impl_"}
IN_GRAPHS = {"TopK", "NonZero", "NonMaxSuppression", "Compress", "Unique"}


def after_choices(net: nn.Module, names: Collection[str], images: Rows) -> set[str]:
    """Those of the layers that are called after a choice by values.

    Another network that computes nearly the same chooses other rows, so that what one layer gives
    in the two cannot be compared row by row.
    """
    if isinstance(net, GraphNetwork):
        nodes = list(net.structure.model.graph)
        first = next((n for n, node in enumerate(nodes) if node.op_type in IN_GRAPHS), len(nodes))
        late = {layer.name for layer in net.structure.layers if layer.node > first}
        return late.intersection(names)
    found: set[str] = set()
    choices = _Choices()

    def watch(name: str) -> RemovableHandle:
        def enter(*_: Any) -> None:
            if choices.seen:
                found.add(name)

        return net.get_submodule(name).register_forward_pre_hook(enter)

    with choices:
        run_watched(net, images, [watch(name) for name in names])
    return found


class _Choices(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Whether an operation has chosen by values."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        self.seen |= name in CHOOSING or (name in BY_MASK and _has_mask(args[1]))
        return func(*args, **(kwargs or {}))


def _has_mask(indices: Any) -> bool:
    masks = (torch.bool, torch.uint8)
    return any(isinstance(one, Tensor) and one.dtype in masks for one in tensor_leaves(indices))
