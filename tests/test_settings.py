"""Settings as JSON: which values count as numbers."""

import json

import pytest

from tensorpress.settings import is_number


@pytest.mark.parametrize("text", ["0", "-3", "2.5", "1e308", "1" + "0" * 308])
def test_numbers(text: str) -> None:
    assert is_number(json.loads(text))


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e400", "1" + "0" * 400, "true", '"1"', "[]"])
def test_what_is_none(text: str) -> None:
    assert not is_number(json.loads(text))
