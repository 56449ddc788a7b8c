from hypothesis import given
from hypothesis import strategies as st

from tensorpress.report.layer_axis import block_spans, layer_axis, layer_ticks, number_ticks


@given(st.integers(1, 10_000))
def test_numbered_layers(count: int) -> None:
    ticks = number_ticks(count)
    assert 1 <= len(ticks) <= 7
    assert all(0 < place < 1 and 1 <= int(text) <= count for place, text in ticks)


@given(st.integers(1, 10_000))
def test_a_number_stands_below_its_layer(count: int) -> None:
    axis = layer_axis(["a"] * count)
    assert axis.name == "layers in order"
    for place, text in zip(axis.ticks, axis.texts, strict=True):
        assert abs(place - (int(text) - 1)) < 1e-6
    assert axis.share(-0.5) == 0
    assert axis.share(count - 0.5) == 1


def test_blocks_are_named_where_they_tell_something() -> None:
    residual = ["conv1", *(f"layer{n}.{i}" for n in (1, 2, 3) for i in range(6)), "linear"]
    assert [text for _, text in layer_ticks(residual)] == ["layer1", "layer2", "layer3"]
    assert block_spans(residual)[1] == ("layer1", 1, 7)
    for names in ([f"features.{i}" for i in range(16)] + ["linear"], list("abcdefghijklmnop"), []):
        assert block_spans(names) == []
    assert layer_ticks([f"features.{i}" for i in range(5)])[0] == (0.1, "1")
