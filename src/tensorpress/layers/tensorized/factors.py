"""Numbers of channels as products of small factors."""

from tensorpress.errors import TensorpressError, shown


def near_equal_factors(number: int, count: int) -> tuple[int, ...]:
    """``count`` factors of ``number`` that are as equal as its divisors allow.

    Of all such products the one of the least sum, its largest factors in the middle, as Garipov et
    al. (2016) have them: 128 = 4 * 8 * 4. A prime number has itself and ones.

    Raises:
        TensorpressError: a number or a count below 1.

    >>> near_equal_factors(128, 3), near_equal_factors(7, 3)
    ((4, 8, 4), (1, 7, 1))
    """
    for value in (number, count):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise TensorpressError(f"{shown(value)} is no number to factor: give one from 1 on.")
    falling = sorted(_least_sum(number, count, 1), reverse=True)
    # The largest in the middle, each next one on alternate sides of those before it.
    placed: list[int] = []
    for n, factor in enumerate(falling):
        placed.insert(len(placed) if n % 2 else 0, factor)
    return tuple(placed)


def _least_sum(number: int, count: int, least: int) -> list[int]:
    """The factors of the least sum, rising, none below ``least``; none at all if there are none."""
    if count == 1:
        return [number]
    best: list[int] = []
    factor = least
    while factor**count <= number:
        if number % factor == 0:
            rest = _least_sum(number // factor, count - 1, factor)
            if rest and (not best or factor + sum(rest) < sum(best)):
                best = [factor, *rest]
        factor += 1
    return best
