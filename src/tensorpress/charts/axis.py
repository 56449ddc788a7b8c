"""Axes: where a value stands, and round numbers to write beside it."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A straight axis.

    Attributes:
        low, high: its ends.
        ticks, texts: values on it, and what is written there.
        name: of what it is; empty where that goes without saying.
    """

    low: float
    high: float
    ticks: tuple[float, ...] = ()
    texts: tuple[str, ...] = ()
    name: str = ""
    is_log = False

    def share(self, value: float) -> float:
        """Where ``value`` stands, 0 at ``low`` and 1 at ``high``."""
        return (value - self.low) / (self.high - self.low)


class LogAxis(Axis):
    """An axis of powers of ten."""

    is_log = True

    def share(self, value: float) -> float:
        """As of `Axis`; ``value`` is positive."""
        return math.log(value / self.low) / math.log(self.high / self.low)


def even_axis(
    ticks: Iterable[float], name: str = "", text: Callable[[float], str] = "{:g}".format
) -> Axis:
    """The axis from the first of ``ticks`` to the last, each written by ``text``."""
    ticks = tuple(ticks)
    return Axis(ticks[0], ticks[-1], ticks, tuple(map(text, ticks)), name)


def round_axis(
    low: float,
    high: float,
    name: str = "",
    text: Callable[[float], str] = "{:g}".format,
    *,
    steps: int = 5,
) -> Axis:
    """The least axis with round ticks that holds ``low`` and ``high``.

    >>> round_axis(0, 37).ticks
    (0.0, 10.0, 20.0, 30.0, 40.0)
    """
    span = (high - low) or abs(high) or 1.0
    size: float = 10.0 ** math.floor(math.log10(span / steps))
    size *= next(factor for factor in (1, 2, 2.5, 5, 10) if size * factor * steps >= span * 0.999)
    first, last = math.floor(low / size + 1e-9), math.ceil(high / size - 1e-9)
    last = max(last, first + 1)
    return even_axis((round(index * size, 12) for index in range(first, last + 1)), name, text)


def whole_axis(last: int, name: str) -> Axis:
    """From 0 to ``last``, with whole numbers written on it.

    >>> whole_axis(11, "epochs").texts
    ('0', '2', '4', '6', '8', '10')
    """
    last = max(last, 1)
    ticks = [tick for tick in round_axis(0, last, steps=6).ticks if tick <= last and tick % 1 == 0]
    return Axis(0.0, float(last), tuple(ticks), tuple(f"{tick:g}" for tick in ticks), name)


def log_axis(values: Iterable[float], name: str = "") -> Axis:
    """The powers of ten around the ``values`` that are positive.

    >>> log_axis([0.02, 3.0]).texts
    ('0.01', '0.1', '1', '10')
    """
    known = [value for value in values if value > 0] or [1.0]
    first, last = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    ticks = tuple(10.0**power for power in range(first, max(last, first + 1) + 1))
    return LogAxis(ticks[0], ticks[-1], ticks, tuple(f"{tick:g}" for tick in ticks), name)
