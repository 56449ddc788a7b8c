"""What a subclass of a layer computes: a plain layer, and what is padded in front of it."""

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.utils._python_dispatch import TorchDispatchMode

from tensorpress.layers.eligible import is_lazy, listens
from tensorpress.layers.folding import fold, is_foldable
from tensorpress.layers.kinds import (
    Layer,
    dimensions,
    filled_layer,
    groups_of,
    is_layer,
    is_linear,
    is_plain,
    is_transposed,
    kernel_of,
    kernel_shape,
    settings_of,
)
from tensorpress.layers.padded import Padded, SamePadding, Sides, fixed_padding

ROUNDING = 1e-5
"""Of the largest output: a subclass may work in float32 inside."""
MOST_SIZES = 4
LARGE = 2.0**10
"""What values are multiplied with besides: a subclass may cut off what is large."""


@dataclass(frozen=True)
class TakenApart:
    """What a subclass computes.

    Attributes:
        layer: a plain one, with the weight that the subclass uses in the end.
        padding: a module in front of it; None where the layer's own padding does.
    """

    layer: Layer
    padding: nn.Module | None

    def joined(self, layer: nn.Module) -> nn.Module:
        """``layer``, a replacement of the plain one, with the padding in front."""
        if self.padding is None:
            return layer
        made = Padded(self.padding, layer)
        made.training = made.pad.training = layer.training
        return made

    def fed(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of what the plain layer takes where the subclass takes ``shape``."""
        if self.padding is None:
            return tuple(shape)
        return tuple(self.padding(torch.empty(tuple(shape), device="meta")).shape)


@torch.no_grad()
def take_apart(module: nn.Module, shape: Sequence[int] | None = None) -> TakenApart | None:
    """What a subclass of a layer computes, found by running it; None if that is something else.

    Maps of several sizes, of small and of large values, go through a copy of it in float64, in eval
    and in training mode. Inside, there has to be one convolution of the subclass's own kernel size,
    stride, dilation and groups, whose weight may be another than the subclass holds, after zeros
    around the map or its own padding. What this gives is compared with what the subclass gives.

    Args:
        shape: of an input that it is to be compared on besides, as it comes in the network.

    A subclass with hooks, which would be lost, or with parametrisations is not taken apart.
    """
    if is_plain(module) or not is_layer(module) or is_lazy(module):
        return None
    if any(p.is_meta or p.dtype.is_complex for p in (*module.parameters(), *module.buffers())):
        return None
    if parametrize.is_parametrized(module) or listens(module):
        return None
    try:
        copied: Any = copy.deepcopy(module).cpu().double()
        found = _found(copied, shape)
    # What stands in a subclass may raise anything where it is run by itself.
    except Exception:
        return None
    return None if found is None else _like(found, module)


def apart_at(modules: Mapping[str, nn.Module], name: str) -> tuple[str, TakenApart] | None:
    """The subclass, or layer with parametrisations, that a layer of a compressed network was
    taken apart from, by its own name; None where it was a plain one.

    Args:
        modules: of the network as it was, by name.
        name: of the layer; where padding stands before it, "layer" in the subclass's place.
    """
    for place, padded in ((name, False), (name.removesuffix(".layer"), True)):
        module = modules.get(place)
        if module is not None and is_foldable(module) and not padded:
            return place, TakenApart(fold(module), None)
        apart = None if module is None else take_apart(module)
        if apart is not None and (apart.padding is not None) == padded:
            return place, apart
    return None


def _found(module: Any, shape: Sequence[int] | None) -> TakenApart | None:
    draw = torch.Generator().manual_seed(0)
    inputs = [_drawn(draw, sizes) for sizes in _sizes(module)]
    tried = [(mode, x) for mode in (False, True) for x in (*inputs, LARGE * inputs[0])]
    if shape is not None and not is_linear(module):
        tried.append((False, _drawn(draw, (1, module.in_channels, *shape[-dimensions(module) :]))))
    if is_linear(module):
        found = TakenApart(_plain(module, module.weight, module.bias, {}), None)
        expected = [module.train(mode)(x) for mode, x in tried]
    else:
        calls = [call for mode, x in tried if (call := _called(module.train(mode), x))]
        if len(calls) < len(tried) or calls[0].kernel_shape != kernel_shape(module):
            return None
        found = _of_calls(module, calls)
        expected = [call.given for call in calls]
    agree = (_agrees(found, x, given) for (_, x), given in zip(tried, expected, strict=True))
    return found if all(agree) else None


def _agrees(found: TakenApart, x: Tensor, expected: Tensor) -> bool:
    given = found.layer(x if found.padding is None else found.padding(x))
    if given.shape != expected.shape:
        return False
    most = max(float(expected.abs().max()), torch.finfo(torch.float32).tiny)
    return float((given - expected).abs().max()) <= ROUNDING * most


def _sizes(module: Any) -> Iterator[tuple[int, ...]]:
    """Shapes of inputs: maps of sizes that differ by less than the stride."""
    if is_linear(module):
        yield from ((2, module.in_features), (2, 3, module.in_features))
        return
    along = list(zip(module.kernel_size, module.stride, module.dilation, strict=True))
    for more in range(min(max(module.stride) + 1, MOST_SIZES)):
        sizes = [(k - 1) * d + 1 + 2 * s + more + n for n, (k, s, d) in enumerate(along)]
        yield (2, module.in_channels, *sizes)


def _drawn(draw: torch.Generator, sizes: Sequence[int]) -> Tensor:
    """Values of both signs, and none near zero."""
    signs = torch.randint(0, 2, sizes, generator=draw, dtype=torch.float64) * 2 - 1
    return (torch.rand(sizes, generator=draw, dtype=torch.float64) + 0.5) * signs


@dataclass(frozen=True)
class _Call:
    """The one convolution that a subclass called.

    Attributes:
        fed, given: what the subclass took and gave.
        x, out: what the convolution took and gave.
        kernel_shape: of its weight, (T, C/groups, D1, ..., Dd).
    """

    fed: Tensor
    given: Tensor
    x: Tensor
    out: Tensor
    weight: Tensor
    bias: Tensor | None
    kernel_shape: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


class _Watched(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the convolutions that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[tuple[Any, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.convolution.default:
            self.calls.append((args, out))
        return out


def _called(module: Any, x: Tensor) -> _Call | None:
    """None where it calls none, several, or one of other settings than its own."""
    with _Watched() as watched:
        given = module(x)
    if len(watched.calls) != 1 or not isinstance(given, Tensor):
        return None
    (args, out) = watched.calls[0]
    seen, weight, bias, stride, padding, dilation, transposed, output_padding, groups = args
    others = zip(
        (stride, dilation, output_padding),
        (module.stride, module.dilation, module.output_padding),
        strict=True,
    )
    if any(tuple(used) != tuple(own) for used, own in others) or groups != module.groups:
        return None
    if bool(transposed) != is_transposed(module):
        return None
    shape = tuple(kernel_of(module, weight).shape)
    return _Call(x, given, seen, out, weight, bias, shape, tuple(stride), tuple(padding))


def _of_calls(module: Any, calls: Sequence[_Call]) -> TakenApart:
    """What calls with inputs of several sizes have in common."""
    weight, bias = calls[0].weight, calls[0].bias
    settings = settings_of(module)
    sides = [_sides(call) for call in calls]
    if is_transposed(module) or None in sides:
        return TakenApart(_plain(module, weight, bias, settings), None)
    settings.pop("padding_mode", None)
    settings["padding"] = (0,) * dimensions(module)
    padding: nn.Module | None = None
    if len(set(sides)) > 1:
        padding = SamePadding(module.kernel_size, module.stride, module.dilation)
    elif all(before == after >= 0 for before, after in cast(Sides, sides[0])):
        settings["padding"] = tuple(before for before, _ in cast(Sides, sides[0]))
    else:
        padding = fixed_padding(cast(Sides, sides[0]))
    return TakenApart(_plain(module, weight, bias, settings), padding)


def _sides(call: _Call) -> Sides | None:
    """The zeros around the map that its output is computed with; None if something else is there.

    Output that is cropped, as a causal convolution may do, was computed from less of them.
    """
    x, sides = call.fed, []
    if call.x.shape[:2] != x.shape[:2]:
        return None
    for axis in range(2, x.dim()):
        others = [a for a in range(x.dim()) if a != axis]
        places = call.x.ne(0).sum(others).nonzero().flatten()
        sides.append((int(places[0]), call.x.shape[axis] - 1 - int(places[-1])))
    if F.pad(call.x, [-n for side in reversed(sides) for n in side]).shape != x.shape:
        return None
    crops = _crops(call)
    if crops is None:
        return None
    return tuple(
        (before + own - first * step, after + own - last * step)
        for (before, after), own, (first, last), step in zip(
            sides, call.padding, crops, call.stride, strict=True
        )
    )


def _crops(call: _Call) -> Sides | None:
    """How far what was given is the convolution's output without its borders."""
    if call.out.shape == call.given.shape:
        return ((0, 0),) * (call.out.dim() - 2)
    pairs = zip(call.out.shape[2:], call.given.shape[2:], strict=True)
    less = [of - now for of, now in pairs]
    if call.out.shape[:2] != call.given.shape[:2] or min(less) < 0 or math.prod(less) > 100:
        return None
    for firsts in itertools.product(*(range(n + 1) for n in less)):
        sides = tuple((first, n - first) for first, n in zip(firsts, less, strict=True))
        inside = F.pad(call.out, [-n for side in reversed(sides) for n in side])
        if torch.equal(inside, call.given):
            return sides
    return None


def _plain(module: Any, weight: Tensor, bias: Tensor | None, settings: dict[str, Any]) -> Layer:
    made: Layer = filled_layer(
        module, kernel_of(module, weight), bias, groups=groups_of(module), settings=settings
    )
    return made


def _like(found: TakenApart, module: nn.Module) -> TakenApart:
    """The same in the dtype, mode, and on the device of the subclass."""
    weight = cast(Tensor, module.weight)
    layer: Any = found.layer.to(device=weight.device, dtype=weight.dtype).train(module.training)
    trained = {name: p.requires_grad for name, p in module.named_parameters()}
    bias_trained = trained.get("bias", False)
    layer.weight.requires_grad_(any(on for name, on in trained.items() if name != "bias"))
    if layer.bias is not None:
        layer.bias.requires_grad_(bias_trained)
    return TakenApart(layer, found.padding)
