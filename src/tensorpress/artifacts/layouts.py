"""The layout of a chain as JSON, for methods that a reader need not know."""

from itertools import pairwise
from typing import Any

from tensorpress.errors import TensorpressError, shown
from tensorpress.layers.kinds import Layer, dimensions, group_channels
from tensorpress.layers.layout import BlockLayout, Layout, Sublayer, is_sublayer_name

MOST = 2**31
Part = Sublayer | BlockLayout


def layout_to_json(layout: Layout) -> list[dict[str, Any]]:
    """Such as [{"name": "pointwise", "channels": [32, 8], "axes": []}, ...]."""
    return [_part_to_json(part) for part in layout]


def layout_from_json(content: Any) -> Layout:
    """What :func:`layout_to_json` gave.

    Raises:
        ValueError, KeyError, TypeError: it is damaged.
    """
    if not isinstance(content, list) or not content:
        raise ValueError(f"layout {shown(content)}")
    layout = tuple(map(_part_from_json, content))
    _refuse_twins(layout)
    return layout


def check_layout(layer: Layer, layout: Layout) -> None:
    """Raise unless a chain of this layout can stand in the place of ``layer``.

    Raises:
        TensorpressError: channels that do not lead from its inputs to its outputs, more of them
            than the layer has weights, or axes that it has not.
    """
    inside, outside = group_channels(layer)
    rows = [[(0, inside), *map(_ends, layout), (outside, 0)]]
    rows += [list(map(_ends, part.sublayers)) for part in layout if isinstance(part, BlockLayout)]
    for (_, gives), (takes, _) in (pair for row in rows for pair in pairwise(row)):
        if gives != takes:
            raise TensorpressError(f"its chain hands on {gives} channels where {takes} are taken.")
    if max(channels for row in rows for ends in row for channels in ends) > layer.weight.numel():
        raise TensorpressError("its chain has absurd widths.")
    axes = [axis for part in layout for s in _sublayers(part) for axis in s.axes]
    if sorted(axes) != list(range(dimensions(layer))):
        raise TensorpressError(f"its chain works along the axes {axes}, and it has others.")


def _part_to_json(part: Part) -> dict[str, Any]:
    if isinstance(part, BlockLayout):
        return {
            "name": part.name,
            "count": part.count,
            "minor": part.minor,
            "sublayers": [_part_to_json(sublayer) for sublayer in part.sublayers],
        }
    channels = [part.in_channels, part.out_channels]
    content = {"name": part.name, "channels": channels, "axes": list(part.axes)}
    return content | ({"depthwise": True} if part.depthwise else {})


def _part_from_json(content: Any) -> Part:
    name = content["name"]
    if not is_sublayer_name(name):
        raise ValueError(f"name {shown(name)}")
    if "sublayers" in content:
        sublayers = tuple(map(_part_from_json, content["sublayers"]))
        plain = tuple(part for part in sublayers if isinstance(part, Sublayer))
        if not plain or plain != sublayers or type(content["minor"]) is not bool:
            raise ValueError(f"blocks {shown(name)}")
        _refuse_twins(plain)
        return BlockLayout(name, _number(content["count"]), content["minor"], plain)
    inside, outside = map(_number, content["channels"])
    axes = tuple(_number(axis, least=0) for axis in content["axes"])
    depthwise = content.get("depthwise", False)
    if type(depthwise) is not bool or (depthwise and inside != outside):
        raise ValueError(f"depthwise {shown(depthwise)}")
    return Sublayer(name, inside, outside, axes, depthwise)


def _number(value: Any, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= MOST:
        raise ValueError(f"number {shown(value)}")
    return value


def _refuse_twins(layout: Layout) -> None:
    names = [part.name for part in layout]
    if len(set(names)) < len(names):
        raise ValueError(f"names {shown(names)}")


def _sublayers(part: Part) -> tuple[Sublayer, ...]:
    return part.sublayers if isinstance(part, BlockLayout) else (part,)


def _ends(part: Part) -> tuple[int, int]:
    """Channels that a part takes and gives."""
    sublayers = _sublayers(part)
    count = part.count if isinstance(part, BlockLayout) else 1
    return count * sublayers[0].in_channels, count * sublayers[-1].out_channels
