"""Layers of a network made as narrow as a file says, which anyone may have altered."""

from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensorpress.errors import TensorpressError
from tensorpress.layers.widths import Widths, narrowable, widths_of


def narrowed(named: str, name: str, layer: nn.Module | None, widths: Widths) -> nn.Module | None:
    """A copy of ``layer`` with these widths; None where it has them already.

    Its tensors are new, with the beginnings of the old ones in them; it shares all else with
    ``layer``.

    Args:
        named: what says so, for messages.
        widths: whole numbers from 1 on, by attribute.

    Raises:
        TensorpressError: no such layer, one of another kind or narrower than that, or widths that
            do not go together.
    """
    foreign = f"{named} is of another network:"
    if layer is None:
        raise TensorpressError(f"{foreign} it has a layer '{name}', this network has none.")
    if all(getattr(layer, attribute, None) == value for attribute, value in widths.items()):
        return None
    known, own = narrowable(layer), widths_of(layer)
    if known is None or not widths.keys() <= own.keys():
        raise TensorpressError(
            f"{foreign} '{name}' has fewer {', '.join(sorted(widths))} there, and is a "
            f"{type(layer).__name__} here."
        )
    if parametrize.is_parametrized(layer):
        raise TensorpressError(
            f"layer '{name}' is narrower in {named}, and parametrised in this network: call "
            "torch.nn.utils.parametrize.remove_parametrizations on it, or load into "
            "tensorpress.surgery.fold_parametrizations(net)."
        )
    for attribute, value in widths.items():
        if value > own[attribute]:
            raise TensorpressError(
                f"{foreign} '{name}' has {attribute}={value} there, and {own[attribute]} here."
            )
    at = {**own, **widths}
    groups = at.get("groups", 1)
    shapes = known.shapes(layer, at)
    if at.get("in_channels", 0) % groups or at.get("out_channels", 0) % groups:
        raise TensorpressError(
            f"{named} is damaged: layer '{name}' has {dict(widths)}, of which the groups do not "
            "divide the channels."
        )
    return _cut(named, name, layer, widths, shapes)


def take_over(layer: nn.Module, narrow: nn.Module) -> None:
    """Make ``layer`` itself what ``narrow``, made from it, is."""
    vars(layer).update(vars(narrow))


def _cut(
    named: str, name: str, layer: nn.Module, widths: Widths, shapes: dict[str, tuple[int, ...]]
) -> nn.Module:
    copied = object.__new__(type(layer))
    vars(copied).update(vars(layer), **widths)
    for held in ("_parameters", "_buffers"):
        vars(copied)[held] = dict(vars(layer)[held])
    for key, shape in shapes.items():
        holder: dict[str, Any] = vars(copied)["_parameters"]
        if key not in holder:
            holder = vars(copied)["_buffers"]
        value: Tensor | None = holder.get(key)
        if value is None:
            continue
        if len(shape) != value.dim() or any(map(int.__gt__, shape, value.shape)):
            raise TensorpressError(
                f"{named} is of another network: '{name}.{key}' has the shape {shape} there, and "
                f"{tuple(value.shape)} here."
            )
        cut = value.detach()[tuple(map(slice, shape))].clone()
        is_parameter = isinstance(value, nn.Parameter)
        holder[key] = nn.Parameter(cut, value.requires_grad) if is_parameter else cut
    return copied
