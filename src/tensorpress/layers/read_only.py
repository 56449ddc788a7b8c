"""A tensor that stands for something else and must not be written to."""

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

from tensorpress.errors import TensorpressError
from tensorpress.layers.storage import storage_of

WRITES = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__")


class ReadOnly(Tensor):
    """A tensor that refuses to be changed in place, as do its views; all else gives plain ones.

    Attributes:
        of: what it is of, as the error says it.
    """

    of: str

    @classmethod
    def made(cls, tensor: Tensor, of: str) -> "ReadOnly":
        """The same values, read-only."""
        made = tensor.as_subclass(cls)
        made.of = of
        return made

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        held = next(leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, cls))
        if (_writes(func) and args and isinstance(args[0], cls)) or isinstance(
            kwargs.get("out"), cls
        ):
            raise TensorpressError(
                f"{held.of} was made from its factors to be read, and what is written into it "
                "would be lost: set another, or change the factors."
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **kwargs)
        storage = storage_of(held)
        return tree_map_only(
            Tensor,
            lambda t: cls.made(t, held.of) if storage_of(t) == storage else t,
            result,
        )


def _writes(func: Any) -> bool:
    name = getattr(func, "__name__", "")
    in_place = name.endswith("_") and not name.endswith("__")
    return in_place or name in WRITES or name == "__set__"
