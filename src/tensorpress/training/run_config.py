"""The configuration of a run that an older version wrote, as this one writes it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.training.recipes import Recipe


def up_to_date(config: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with its request and its recipes as this version writes them into JSON.

    What cannot be read stays as it is.
    """
    return {name: _rewritten(name, value) for name, value in config.items()}


def _rewritten(name: str, value: Any) -> Any:
    try:
        return WRITTEN_ANEW[name](value) if name in WRITTEN_ANEW else value
    except (KeyError, TypeError, AttributeError, TensorpressError):
        return value


def _recipe(settings: Mapping[str, Any]) -> dict[str, Any]:
    recipe = dataclasses.asdict(Recipe.from_dict(settings))
    return {**recipe, "milestones": [*recipe["milestones"]]}


WRITTEN_ANEW: Mapping[str, Callable[[Any], Any]] = {
    "compression": lambda settings: Request.from_dict(settings).to_dict(),
    "train": _recipe,
    "finetune": _recipe,
}
