"""Files of JSON that anyone may have altered."""

from pathlib import Path

import pytest

from tensorpress.errors import TensorpressError
from tensorpress.files import read_json


@pytest.mark.parametrize("value", ["{}", "[1, 2]", "null", '"text"'])
def test_what_is_json_is_read(tmp_path: Path, value: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(value)
    assert (
        read_json(path, "") == {"{}": {}, "[1, 2]": [1, 2], "null": None, '"text"': "text"}[value]
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "as it is damaged"),
        (b"\xff", "as it is damaged"),
        (b"[" * 100_000, "as it is damaged"),
        (b"9" * 5000, "as it is damaged"),
        (None, "No such file or directory"),
    ],
    ids=["cut short", "no text", "too deep", "too many digits", "gone"],
)
def test_what_is_none_is_one_line_with_the_way_out(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TensorpressError, match=told) as refused:
        read_json(path, "delete it.")
    message = str(refused.value)
    assert message.startswith(f"{path} cannot be read")
    assert message.endswith(": delete it.")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
