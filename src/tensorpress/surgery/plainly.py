"""Work that is done alike within whatever mode of PyTorch it is asked for."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def plainly(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` outside of `torch.autocast` and `torch.inference_mode`.

    Decompositions are not exact in half precision, and what is fitted needs gradients. In inference
    mode the tensors among its arguments should have been made before it.
    """

    @functools.wraps(function)
    def alike(*args: P.args, **kwargs: P.kwargs) -> R:
        with (
            torch.inference_mode(False),
            torch.autocast("cpu", enabled=False),
            torch.autocast("cuda", enabled=False),
        ):
            return function(*args, **kwargs)

    return alike
