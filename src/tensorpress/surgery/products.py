"""Products with parameters that run outside of layers, such as the projections of attention."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tensorpress.layers.storage import storage_of

_ATEN = torch.ops.aten
PRODUCTS = {
    **{_ATEN.mm: (0, 1), _ATEN.bmm: (0, 1), _ATEN.mv: (0, 1)},
    **{_ATEN.addmm: (1, 2), _ATEN.baddbmm: (1, 2), _ATEN.addmv: (1, 2)},
}
"""Products, and the places of their factors."""


class Products(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """MACs of products with parameters, of those that are outside of layers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held = {storage_of(p) for p in net.parameters() if not _has_none(p)}
        self.are_outside = True
        self.macs = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        places = PRODUCTS.get(func.overloadpacket) if self.are_outside else None
        if places is not None:
            one, other = (args[place] for place in places)
            if any(not _has_none(x) and storage_of(x) in self._held for x in (one, other)):
                self.macs += one.numel() * (other.shape[-1] if other.dim() > 1 else 1)
        return func(*args, **(kwargs or {}))


def _has_none(tensor: Tensor) -> bool:
    """Whether it has no storage, as sparse ones."""
    return tensor.layout != torch.strided
