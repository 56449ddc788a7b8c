"""What the nodes of convolutions do along their axes."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from tensorpress.layers.padded import SamePadding, fixed_padding

Sizes = tuple[int, ...]


class Left(Exception):
    """Why a node stays in the graph as it is."""


@dataclass(frozen=True)
class Geometry:
    """What a convolution does along its axes.

    Attributes:
        settings: kernel size, stride, ..., groups, as its constructor in :mod:`torch.nn` has them.
        pad: what stands before it; None where its own padding does.
    """

    settings: dict[str, Any]
    pad: nn.Module | None = None

    @property
    def groups(self) -> int:
        return int(self.settings["groups"])


def geometry_of(node: Any, size: Sizes) -> Geometry:
    """
    Args:
        size: of its kernel.

    Raises:
        Left: no layer of PyTorch does that, or its chain could not.
    """
    read = node.attributes
    if tuple(read.get_ints("kernel_shape", size)) != size:
        raise Left("its kernel_shape is not that of its weight")
    settings: dict[str, Any] = {
        "kernel_size": size,
        "stride": _sizes(node, "strides", (1,) * len(size)),
        "dilation": _sizes(node, "dilations", (1,) * len(size)),
        "groups": read.get_int("group", 1),
    }
    if node.op_type == "ConvTranspose":
        return _transposed(node, settings)
    auto = _auto(node)
    if auto.startswith("SAME"):
        return _same(auto, settings)
    sides = _sides(node, len(size))
    if all(before == after for before, after in sides):
        return Geometry(settings | {"padding": tuple(before for before, _ in sides)})
    works = [k * step > 1 for k, step in zip(size, settings["stride"], strict=True)]
    if any(max(side) and not work for side, work in zip(sides, works, strict=True)):
        raise Left("it pads unevenly what it does not work along")
    return Geometry(settings, fixed_padding(sides))


def _same(auto: str, settings: dict[str, Any]) -> Geometry:
    """Padding by the size of the map; where that comes to the same for all, the layer's own."""
    size, stride, dilation = (settings[name] for name in ("kernel_size", "stride", "dilation"))
    missing = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
    if max(stride) == 1 and not any(n % 2 for n in missing):
        return Geometry(settings | {"padding": tuple(n // 2 for n in missing)})
    if auto == "SAME_LOWER":
        raise Left("its auto_pad is SAME_LOWER")
    return Geometry(settings, SamePadding(size, stride, dilation) if any(missing) else None)


def _transposed(node: Any, settings: dict[str, Any]) -> Geometry:
    dims = len(settings["kernel_size"])
    if _auto(node).startswith("SAME") or node.attributes.get_ints("output_shape", None):
        raise Left("what it crops depends on the size of its output")
    sides = _sides(node, dims)
    if any(before != after for before, after in sides):
        raise Left("it crops its output unevenly")
    return Geometry(
        settings
        | {
            "padding": tuple(before for before, _ in sides),
            "output_padding": _sizes(node, "output_padding", (0,) * dims),
        }
    )


def _sides(node: Any, dims: int) -> tuple[tuple[int, int], ...]:
    pads = _sizes(node, "pads", (0,) * 2 * dims)
    if _auto(node) == "VALID" or len(pads) != 2 * dims:
        pads = (0,) * 2 * dims
    return tuple(zip(pads[:dims], pads[dims:], strict=True))


def _auto(node: Any) -> str:
    return node.attributes.get_string("auto_pad", None) or "NOTSET"


def _sizes(node: Any, name: str, usual: Sizes) -> Sizes:
    return tuple(node.attributes.get_ints(name, None) or usual)
