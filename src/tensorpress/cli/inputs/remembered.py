"""What a file of ours remembers of its network."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorpress import artifacts
from tensorpress.choices import INPUT_DTYPES
from tensorpress.data import Framing
from tensorpress.data.framing import INTERPOLATIONS
from tensorpress.errors import TensorpressError, shown

MOST_CLASSES = 1_000_000


def read_source(path: Path) -> dict[str, Any]:
    """What a file of ours remembers of its network (:meth:`Inputs.source`), checked.

    Raises:
        TensorpressError: a file that cannot be read, or one whose notes make no sense.
    """
    source = artifacts.read_manifest(path).source
    numbers = (int, float)
    kinds: dict[str, tuple[type, ...]] = {"input_shape": (int,), "mean": numbers, "std": numbers}
    for key, value in source.items():
        sensible = True
        if key == "network":
            sensible = isinstance(value, str)
        elif key == "num_classes":
            sensible = isinstance(value, int) and 0 < value <= MOST_CLASSES
        elif key == "input_dtype":
            sensible = value in INPUT_DTYPES
        elif key in ("as_made", "ema", "allow_extra"):
            sensible = isinstance(value, bool)
        elif key == "resize":
            sensible = type(value) is int and value > 0
        elif key == "interpolation":
            sensible = value in INTERPOLATIONS
        elif key in kinds:
            sensible = isinstance(value, list) and all(type(v) in kinds[key] for v in value)
            if key == "input_shape" and sensible:
                sensible = min(value, default=0) > 0
        if not sensible:
            raise TensorpressError(
                f"the manifest of {path} is damaged: its {key} is {shown(value)}."
            )
    return source


def framings_of(remembered: Mapping[str, Any]) -> dict[str, Framing]:
    """What images in folders become by what a file remembers: all of them, or if sizes differ."""
    shape, resize = remembered.get("input_shape", ()), remembered.get("resize")
    if len(shape) != 3:
        return {}
    framing = Framing.to((shape[1], shape[2]), remembered.get("interpolation"), resize)
    return {"fallback" if resize is None else "usual": framing}
