"""Requests as files held them before they had a version: rules and budgets as they print."""

import re
from collections.abc import Mapping
from typing import Any

from tensorpress.choices import METHODS
from tensorpress.request.recovery import read_recovery
from tensorpress.settings import to_json

RULE_FIELDS = {
    "Energy": ("tau",),
    "SingularSum": ("tau",),
    "RelativeError": ("eps",),
    "VBMF": (),
}
OWN = ("images", "labels", "clusters")
"""What treatments by other methods recorded beside the settings that all share."""
LONGEST = 300
CALL = re.compile(r"(\w+)\(([^()]*)\)")
NUMBER = re.compile(r"-?\d+(\.\d*)?(e[+-]?\d+)?")
WORD = re.compile(r"'([\w.-]*)'")


def without_texts(content: Mapping[str, Any]) -> dict[str, Any]:
    """``content`` with the texts of rules and budgets as objects; other values stay as they are.

    Nothing is evaluated: a text that is none of ours stays a text, for the reader to refuse.
    """
    read = dict(content)
    rank, calibration = read.get("rank"), read.get("calibration")
    if isinstance(rank, Mapping) and not isinstance(rank.get("rule"), str):
        read["rank"] = {name: _rule(text) for name, text in rank.items()}
    elif isinstance(rank, str):
        read["rank"] = _rule(rank)
        if read["rank"] == rank and re.fullmatch(r"\d{1,9}|\([\d, ]{1,99}\)", rank):
            del read["rank"]  # of a tensorization, whose ranks are numbers
            read["settings"] = {"rank": rank}
    read["budget"] = _budget(read.get("budget"))
    if isinstance(calibration, Mapping) and isinstance(calibration.get("recover"), bool):
        rest = {name: value for name, value in calibration.items() if name != "recover"}
        read["calibration"] = to_json(read_recovery(calibration["recover"])) | rest
    own = {} if read.get("method", "ttpwt") in METHODS else {n: read[n] for n in OWN if n in read}
    if own:
        read = {name: value for name, value in read.items() if name not in own}
        read["settings"] = own
    return read


def _rule(text: Any) -> Any:
    """ "Energy(tau=0.7)" as {"rule": "Energy", "tau": 0.7}."""
    name, values, named = _call(text)
    if name == "Ranks" and not named and values:
        return {"rule": name, "values": values}
    if name in RULE_FIELDS and not values and tuple(named) == RULE_FIELDS[name]:
        return {"rule": name, **named}
    return text


def _budget(text: Any) -> Any:
    """ "Budget(params=4.0, macs=None)" as {"params": 4.0, "macs": None}."""
    name, values, named = _call(text)
    return named if name == "Budget" and not values else text


def _call(text: Any) -> tuple[str | None, list[Any], dict[str, Any]]:
    """Name, values and named values of a text such as "Ranks(8, 12)"; no name for another text."""
    none: tuple[None, list[Any], dict[str, Any]] = (None, [], {})
    if not isinstance(text, str) or len(text) > LONGEST:
        return none
    call = CALL.fullmatch(text)
    if call is None:
        return none
    values, named = list[Any](), dict[str, Any]()
    for part in call[2].split(", ") if call[2] else []:
        key, equals, shown = part.rpartition("=")
        if shown == "None":
            value: Any = None
        elif NUMBER.fullmatch(shown):
            value = int(shown) if shown.lstrip("-").isdigit() else float(shown)
        elif word := WORD.fullmatch(shown):
            value = word[1]
        else:
            return none
        if not equals:
            values.append(value)
        elif key in named:
            return none
        else:
            named[key] = value
    return call[1], values, named
