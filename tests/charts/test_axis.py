import math

from hypothesis import given
from hypothesis import strategies as st

from tensorpress.charts import log_axis, round_axis, whole_axis

VALUES = st.floats(-1e12, 1e12).map(lambda value: round(value, 3))


@given(VALUES, VALUES)
def test_an_axis_holds_its_values_and_has_few_ticks(one: float, other: float) -> None:
    low, high = sorted((one, other))
    axis = round_axis(low, high)
    room = 1e-6 * (axis.high - axis.low)
    assert axis.low <= low + room
    assert high - room <= axis.high
    assert axis.low < axis.high
    assert 2 <= len(axis.ticks) <= 8
    assert len(axis.texts) == len(axis.ticks)
    assert axis.share(axis.low) == 0
    assert axis.share(axis.high) == 1


@given(st.integers(0, 10**6))
def test_whole_numbers_up_to_the_last(last: int) -> None:
    axis = whole_axis(last, "epochs")
    assert (axis.low, axis.high) == (0, max(last, 1))
    assert 2 <= len(axis.ticks) <= 8
    assert all(tick.is_integer() and axis.low <= tick <= axis.high for tick in axis.ticks)


@given(st.lists(st.floats(1e-12, 1e12), min_size=1))
def test_powers_of_ten_around_what_is_positive(values: list[float]) -> None:
    axis = log_axis([0.0, -3.0, *values])
    assert axis.low <= min(values) * (1 + 1e-9)
    assert max(values) <= axis.high * (1 + 1e-9)
    assert axis.share(axis.low) == 0
    assert axis.share(axis.high) == 1
    middle = math.sqrt(axis.low * axis.high)
    assert abs(axis.share(middle) - 0.5) < 1e-9


def test_an_axis_of_nothing_positive() -> None:
    assert log_axis([]).texts == log_axis([0.0]).texts == ("1", "10")
