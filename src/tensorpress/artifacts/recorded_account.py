"""The account of a compression as a file holds it: JSON that anyone may have altered."""

from collections.abc import Mapping
from typing import Any

from tensorpress.errors import shown
from tensorpress.settings import is_number
from tensorpress.surgery import MeasuredTime, Precision, ratios

TOTALS = ("params_before", "params_after", "macs_before", "macs_after")
NUMBERS = ("pcr", "fcr", *TOTALS)
STEP = {"request", *TOTALS}
ROW_TEXTS = ("name", "kernel", "decision")
ROW_COUNTS = ("params_before", "params_after", "macs_before", "macs_after")
ROW_SHARES = ("kept_energy", "relative_error")


def check_account(account: Any) -> None:
    """Raise ValueError, KeyError or TypeError where ``account`` is not one of `Account.to_dict`."""
    for key in NUMBERS:
        _require(_is_count(account[key]), key, account[key])
    _require(isinstance(account["request"], dict), "request", account["request"])
    check_history(account.get("history", []))
    if account.get("precision") is not None:
        check_precision(account["precision"])
    if account.get("time") is not None:
        _check_time(account["time"])
    _require(isinstance(account["layers"], list), "layers", account["layers"])
    for row in account["layers"]:
        for key in ROW_TEXTS:
            _require(isinstance(row[key], str), key, row[key])
        for key in ROW_COUNTS:
            _require(_is_count(row[key]), key, row[key])
        for key in ROW_SHARES:
            _require(row[key] is None or _is_count(row[key]), key, row[key])
        _require(row.get("method") is None or isinstance(row["method"], str), "method", row)
        ranks = row["ranks"]
        whole = isinstance(ranks, list) and all(type(rank) is int and rank > 0 for rank in ranks)
        _require(ranks is None or whole, "ranks", ranks)


def check_precision(precision: Any) -> None:
    """Raise ValueError, KeyError or TypeError where it is not what `Precision.to_dict` gave."""
    read = Precision.from_dict(precision)
    for key in ("threads", "batch", "milliseconds", "before", "layers", "in_int8"):
        _require(_is_count(getattr(read, key)), key, precision[key])
    texts = (read.name, read.runtime, *read.in_float, *read.rivals)
    _require(all(isinstance(t, str) and t.isprintable() for t in texts), "precision", precision)


def _check_time(time: Any) -> None:
    """Raise ValueError or TypeError where it is not what `MeasuredTime.to_dict` gave."""
    read = MeasuredTime.from_dict(time)
    for key in ("threads", "batch", "milliseconds", "before"):
        _require(_is_count(getattr(read, key)), key, time[key])
    is_text = isinstance(read.runtime, str) and read.runtime.isprintable()
    _require(is_text, "runtime", read.runtime)


def check_history(history: Any) -> None:
    """Raise ValueError or KeyError where it is not the compressions of :func:`story_of`."""
    _require(isinstance(history, list), "history", history)
    for step in history:
        _require(isinstance(step, dict) and step.keys() == STEP, "history", step)
        _require(isinstance(step["request"], dict), "request", step["request"])
        method = step["request"].get("method", "")
        _require(isinstance(method, str) and method.isprintable(), "method", method)
        for key in TOTALS:
            _require(_is_count(step[key]), key, step[key])


def story_of(account: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The compressions that an account tells of, itself the last: `Account.story` as JSON."""
    return [*account.get("history", []), {key: account[key] for key in sorted(STEP)}]


def ratios_in_all(account: Mapping[str, Any]) -> dict[str, float]:
    """PCR and FCR of all the compressions that an account tells of, together."""
    pcr, fcr = ratios(story_of(account))
    return {"pcr": pcr, "fcr": fcr}


def _is_count(value: Any) -> bool:
    """A finite number that is not negative; true and false are none."""
    return is_number(value) and value >= 0


def _require(holds: bool, key: str, value: Any) -> None:
    if not holds:
        raise ValueError(f"account: {key} {shown(value)}")
