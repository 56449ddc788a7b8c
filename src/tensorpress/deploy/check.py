"""A written file held against the network that it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from tensorpress.deploy.answer import answer_of, comparable, largest_of, refuse_other_shapes, tells
from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats import Run
from tensorpress.errors import TensorpressError

TOLERANCE = 1e-4


@dataclass(frozen=True)
class Check:
    """One comparison of a file with its network.

    Attributes:
        inputs: "random", "example" where they are whole numbers that are not blank, or "given".
        shapes: of the inputs.
        difference: see :func:`relative_difference`.
        precision: that the file was run in.
    """

    inputs: str
    shapes: tuple[tuple[int, ...], ...]
    difference: float
    precision: str = "f32"


def check(
    net: nn.Module,
    run: Run,
    feed: Feed,
    inputs: str,
    *,
    precision: str = "f32",
    tolerance: float = TOLERANCE,
    scales: Sequence[float] | None = None,
) -> Check:
    """Run both on ``feed``.

    Args:
        scales: as for :func:`relative_difference`.

    Raises:
        TensorpressError: the file does not run, or is not equal to the network to ``tolerance``.
    """
    shapes = tuple(tuple(tensor.shape) for tensor in feed.tensors)
    where = f"on {inputs} inputs of {', '.join(map(str, shapes))}"
    expected = answer_of(net, feed)
    if not tells(expected):
        raise TensorpressError(
            f"the network gives something else than finite tensors {where}, so its export cannot "
            "be checked: look for a diverged training, or make it return tensors."
        )
    try:
        found = run(feed.copied())
    except Exception as error:
        raise TensorpressError(
            f"the exported file does not run {where} ({first_cause(error)}); nothing was written."
        ) from error
    refuse_other_shapes(expected, found, "nothing was written: the exported file")
    difference = relative_difference(expected, found, scales)
    if not difference <= tolerance:
        where += "" if precision == "f32" else f" in {precision}"
        raise TensorpressError(
            f"the exported file is not equal to the network: {where} they differ by "
            f"{difference:.1e} of the largest output, more than {tolerance:.0e}; nothing was "
            "written. Does the network draw random numbers, or change in eval mode?"
        )
    return Check(inputs, shapes, difference, precision)


def relative_difference(
    expected: list[Tensor], found: list[Tensor], scales: Sequence[float] | None = None
) -> float:
    """Worst over the outputs: max |found - expected| / max |expected| (1 if that is 0), in float64.

    The outputs are as many, and of the same shapes (:func:`refuse_other_shapes`). Infinite for NaN
    or inf that is not expected; what is expected to be infinite counts as :func:`comparable` has
    it.

    Args:
        scales: for each output what it may come to on other inputs; where it is larger than here,
            differences are relative to that. A detector gives noise answers so small that rounding
            is all of them.
    """
    worst = 0.0
    least = [0.0] * len(expected) if scales is None else scales
    for reference, value, scale in zip(expected, found, least, strict=True):
        if not reference.numel():
            continue
        reference, value = comparable(reference, value)
        difference = float((value - reference).abs().max())
        largest = max(largest_of(reference), scale) or 1.0
        worst = max(worst, difference / largest if difference == difference else float("inf"))
    return worst
