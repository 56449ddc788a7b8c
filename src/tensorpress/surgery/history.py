"""What was done to a network before, which it carries along."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

STORY = "_tensorpress_story"

Step = Mapping[str, Any]
"""One compression as JSON values: its request, and params and macs before and after."""


def history_of(net: nn.Module) -> tuple[Step, ...]:
    """The compressions that a network went through, the first one first.

    `tensorpress.compress` and `tensorpress.load` write them on the network, and copies keep them;
    networks that were put into others, or rebuilt, have none.
    """
    return tuple(vars(net).get(STORY, ()))


def remember(net: nn.Module, story: Sequence[Step]) -> None:
    """Write down, on the network itself, what it went through."""
    vars(net)[STORY] = [dict(step) for step in story]
