"""The account of a compression as a file holds it: JSON that anyone may have altered."""

import math
from typing import Any

NUMBERS = ("pcr", "fcr", "params_before", "params_after", "macs_before", "macs_after")
ROW_TEXTS = ("name", "kernel", "decision")
ROW_COUNTS = ("params_before", "params_after", "macs_before", "macs_after")
ROW_SHARES = ("kept_energy", "relative_error")


def check_account(account: Any) -> None:
    """Raise ValueError, KeyError or TypeError where ``account`` is not one of `Account.to_dict`."""
    for key in NUMBERS:
        _require(_is_count(account[key]), key, account[key])
    _require(isinstance(account["request"], dict), "request", account["request"])
    _require(isinstance(account["layers"], list), "layers", account["layers"])
    for row in account["layers"]:
        for key in ROW_TEXTS:
            _require(isinstance(row[key], str), key, row[key])
        for key in ROW_COUNTS:
            _require(_is_count(row[key]), key, row[key])
        for key in ROW_SHARES:
            _require(row[key] is None or _is_count(row[key]), key, row[key])
        ranks = row["ranks"]
        whole = isinstance(ranks, list) and all(type(rank) is int and rank > 0 for rank in ranks)
        _require(ranks is None or whole, "ranks", ranks)


def _is_count(value: Any) -> bool:
    """A finite number that is not negative; true and false are none."""
    return type(value) in (int, float) and value >= 0 and math.isfinite(value)


def _require(holds: bool, key: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"account: {key} {value!r}"[:200])
