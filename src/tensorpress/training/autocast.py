"""Passes in bfloat16, but for those convolutions of few channels a group that are slower in it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

ARGUMENTS: dict[Any, tuple[str, ...]] = {
    **dict.fromkeys(
        (functional.conv1d, functional.conv2d, functional.conv3d),
        ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    ),
    **dict.fromkeys(
        (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d),
        ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation"),
    ),
}
OF_TRANSPOSED = "output_padding"
WIDTH_OF_GROUPS = 3
"""Groups of so many channels, and of more, take as long in float32 or longer."""
FAST_TAPS = 9
"""The most taps of a kernel of the fast kind in bfloat16."""


@contextlib.contextmanager
def autocast_to_bf16(device: torch.device) -> Iterator[None]:
    """Compute in bfloat16 within, as `torch.autocast` does.

    On a processor depthwise convolutions, and others of one or two channels a group, are computed
    in float32, but for two-dimensional ones of stride and dilation 1 with at most nine taps: oneDNN
    has fast gradients in bfloat16 for those alone, and takes up to 40 times as long for a stride of
    2 as in float32.
    """
    # A recorded graph must hold the casts of the weights, so no cast may be kept from before it.
    with torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False):
        if device.type != "cpu":
            yield
            return
        with _NarrowInFloat32():
            yield


class _NarrowInFloat32(TorchFunctionMode):
    """Calls of convolutions, by modules or as functions, go by what is said above."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        names = ARGUMENTS.get(func)
        if names is None:
            return func(*args, **kwargs)
        given = dict(zip(names, args, strict=False)) | kwargs
        if not _is_slow_in_bf16(given, transposed=OF_TRANSPOSED in names):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            answer: Tensor = func(
                *(_in_float32(value) for value in args),
                **{name: _in_float32(value) for name, value in kwargs.items()},
            )
        return answer.bfloat16()


def _is_slow_in_bf16(given: dict[str, Any], *, transposed: bool) -> bool:
    weight: Tensor = given["weight"]
    groups = given.get("groups", 1)
    narrow = weight.shape[1] < WIDTH_OF_GROUPS and weight.shape[0] // groups < WIDTH_OF_GROUPS
    if groups == 1 or not narrow:
        return False
    fast = (
        not transposed
        and weight.dim() == 4
        and _is_one(given.get("stride", 1))
        and _is_one(given.get("dilation", 1))
        and weight[0, 0].numel() <= FAST_TAPS
    )
    return not fast


def _is_one(value: int | tuple[int, ...]) -> bool:
    return value == 1 if isinstance(value, int) else all(v == 1 for v in value)


def _in_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) else value
