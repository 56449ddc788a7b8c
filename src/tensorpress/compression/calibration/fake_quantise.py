"""What int8 rounds away, in float32 and with gradients: training learns to live with it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from tensorpress.deploy.int8.rounding import LARGEST

STEPS = 255
"""Between the values of 8 bits."""
SMALLEST = 1e-30
"""Of a step, for tensors of zeros alone."""
LAYERS: dict[Callable[..., Any], int] = {
    **dict.fromkeys((F.linear, F.conv1d, F.conv2d, F.conv3d), 0),
    **dict.fromkeys((F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d), 1),
}
"""Functions of layers, and the axis of their weight's channels out."""
SUMS = (torch.add, Tensor.add, Tensor.add_)
"""What operators, too, come to."""


class FakeQuantise(TorchFunctionMode):
    """While it is entered, layers and sums take what int8 would leave of their inputs and weights.

    As files in int8 have it: values of 8 bits with a range for each tensor, here that of the batch,
    or between two layers for each channel, as these are equalised; weights of 7 bits, symmetric,
    with a range for each channel out. Gradients pass rounding as if it were not there (the
    straight-through estimator; Bengio et al., 2013). Activations and batch norms are not rounded by
    themselves, as runtimes fuse them with the layer before.
    """

    _between: Tensor | None = None

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func in LAYERS and len(args) > 1:
            values, weight, *others = args
            values = of_values(values, by_channel=values is self._between)
            found: Tensor = func(values, of_weight(weight, LAYERS[func]), *others, **(kwargs or {}))
            self._between = found
            return found
        if func in SUMS and all(isinstance(x, Tensor) and x.dim() > 2 for x in args[:2]):
            total = torch.add(of_values(args[0]), of_values(args[1]), *args[2:], **(kwargs or {}))
            return args[0].copy_(total) if func is Tensor.add_ else total
        return func(*args, **(kwargs or {}))


def of_values(values: Tensor, *, by_channel: bool = False) -> Tensor:
    """Rounded to 256 steps that reach from the smallest to the largest of them, zero among them.

    Args:
        values: of maps (N, C, ...) also by channel.
    """
    given = values.detach()
    others = [n for n in range(given.dim()) if n != 1 or not by_channel]
    largest, smallest = (end(others, keepdim=True) for end in (given.amax, given.amin))
    spread = largest.clamp(min=0) - smallest.clamp(max=0)
    return _rounded(values, spread / STEPS)


def of_weight(weight: Tensor, axis: int) -> Tensor:
    """Rounded to 129 steps around zero that reach the largest of each channel out."""
    others = [dim for dim in range(weight.dim()) if dim != axis]
    return _rounded(weight, weight.detach().abs().amax(others, keepdim=True) / LARGEST)


def _rounded(values: Tensor, step: Tensor) -> Tensor:
    found: Tensor = _StraightThrough.apply(values, step.clamp(min=SMALLEST))  # type: ignore[no-untyped-call]
    return found


class _StraightThrough(torch.autograd.Function):
    """Values rounded to multiples of a step, with the gradient of the values."""

    @staticmethod
    def forward(_: Any, values: Tensor, step: Tensor) -> Tensor:
        return (values / step).round_().mul_(step)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None
