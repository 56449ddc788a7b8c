from hypothesis import given
from hypothesis import strategies as st

from tensorpress.report.scale import block_spans, layer_ticks, number_ticks, round_scale

VALUES = st.floats(-1e12, 1e12).map(lambda value: round(value, 3))


@given(VALUES, VALUES)
def test_an_axis_holds_its_values_and_has_few_ticks(one: float, other: float) -> None:
    low, high = sorted((one, other))
    scale = round_scale(low, high)
    room = 1e-6 * (scale.high - scale.low)
    assert scale.low <= low + room
    assert high - room <= scale.high
    assert scale.low < scale.high
    assert 2 <= len(scale.ticks) <= 8
    assert scale.share(scale.low) == 0
    assert scale.share(scale.high) == 1


@given(st.integers(1, 10_000))
def test_numbered_layers(count: int) -> None:
    ticks = number_ticks(count)
    assert 1 <= len(ticks) <= 7
    assert all(0 < place < 1 and 1 <= int(text) <= count for place, text in ticks)


def test_blocks_are_named_where_they_tell_something() -> None:
    residual = ["conv1", *(f"layer{n}.{i}" for n in (1, 2, 3) for i in range(6)), "linear"]
    assert [text for _, text in layer_ticks(residual)] == ["layer1", "layer2", "layer3"]
    assert block_spans(residual)[1] == ("layer1", 1, 7)
    for names in ([f"features.{i}" for i in range(16)] + ["linear"], list("abcdefghijklmnop"), []):
        assert block_spans(names) == []
    assert layer_ticks([f"features.{i}" for i in range(5)])[0] == (0.1, "1")
