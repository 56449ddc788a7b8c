"""The one search for how much a budget lets be kept."""

from collections.abc import Callable


def largest_step(
    meets: Callable[[int], bool],
    steps: int,
    guess: Callable[[int, int], int] | None = None,
) -> int | None:
    """The largest step below ``steps`` that meets a budget; None if 0 does not.

    Steps keep more as they rise, so those that meet it come first; at ``steps``, which is not
    tried, everything is kept. ``meets`` is asked of 0 and of about log2(steps) others, and the
    largest for which it was true is found.

    Args:
        guess: where the next try is best made, between a step that meets the budget and one that
            does not; by default in the middle.
    """
    if not meets(0):
        return None
    low, high = 0, steps
    while high - low > 1:
        middle = (low + high) // 2 if guess is None else guess(low, high)
        if meets(middle):
            low = middle
        else:
            high = middle
    return low
