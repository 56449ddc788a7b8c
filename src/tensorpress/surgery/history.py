"""What was done to a network before, which it carries along."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from tensorpress.surgery.wrappers import inside

STORY = "_tensorpress_story"

Step = Mapping[str, Any]
"""One compression as JSON values: its request, and params and macs before and after."""


def history_of(net: nn.Module) -> tuple[Step, ...]:
    """The compressions that a network went through, the first one first.

    `tensorpress.compress` and `tensorpress.load` write them on the network, and copies keep them;
    networks that were put into others, or rebuilt, have none.
    """
    return tuple(vars(inside(net)).get(STORY, ()))


def remember(net: nn.Module, story: Sequence[Step]) -> None:
    """Write down, on the network itself, what it went through."""
    vars(inside(net))[STORY] = [dict(step) for step in story]


def ratios(story: Sequence[Step]) -> tuple[float, float]:
    """PCR and FCR of successive compressions together, of which there is at least one."""
    first, last = story[0], story[-1]
    pcr, fcr = (ratio(first[f"{of}_before"], last[f"{of}_after"]) for of in ("params", "macs"))
    return pcr, fcr


def ratio(before: int, after: int) -> float:
    """How many times as much it was before; 1 where nothing is left to compare with."""
    return before / after if after else 1.0
