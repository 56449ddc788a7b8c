"""What docs/int8.md says of measured rows."""

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
from make_int8_page import by_network, choice, section

ALONE = "int8 everywhere, nothing decomposed: 2.00x the speed, 20.00 -> 10.00 ms"
FORMS = "auto precision, no int8, forms in 9 of 20 layers: 2.00x the speed, 20.00 -> 10.00 ms"


def row(
    name: str, precision: str, milliseconds: float, acc: float, **others: Any
) -> dict[str, Any]:
    cell = {"planned": milliseconds, "dense": 20.0, "certain": True}
    told = {"network": "net", "data": "cifar10", "machine": "here", "runtime": "openvino"}
    counted = {"acc": acc, "stderr": 0.3, "bytes": 1000, "milliseconds": {"1-1": cell}}
    return told | counted | {"name": name, "precision": precision} | others


def taken(what: str, milliseconds: float, acc: float) -> dict[str, Any]:
    return row("choice-2", "chosen", milliseconds, acc, chosen=[what], batch=1)


ROWS = [row("dense", "auto", 20, 92.0), row("dense", "int8", 10, 91.9)]


@pytest.mark.parametrize(
    ("chosen", "others", "told"),
    [
        (taken(ALONE, 10, 91.9), [], "yes"),
        (taken(ALONE, 14, 91.9), [], "yes"),  # measured beside other things than its own row
        (taken(FORMS, 10, 90.0), [], "behind `dense` int8"),
        (taken(FORMS, 9, 91.8), [], "yes"),
        (taken(FORMS, 9, 90.0), [row("auto-4", "int8", 8.9, 90.2)], "yes"),
        (taken(FORMS, 9, 90.0), [row("auto-4", "int8", 8, 90.2)], "behind `auto-4` int8"),
        (taken(FORMS, 9, 90.0), [row("auto-4", "auto", 8.9, 90.4)], "behind `auto-4` own"),
    ],
)
def test_a_choice_is_in_front_or_behind(
    chosen: dict[str, Any], others: list[dict[str, Any]], told: str
) -> None:
    line = choice(chosen, [*ROWS, *others])
    assert line.startswith("| 2x in OpenVINO, batch 1 | ")
    assert line.endswith(f" | {told} |\n")


def test_a_choice_of_nothing_says_why() -> None:
    nothing = taken("it cannot be reached", 1, 0) | {"milliseconds": {}}
    assert choice(nothing, ROWS) == (
        "| 2x in OpenVINO, batch 1 | nothing: it cannot be reached | - | - |\n"
    )


def test_machines_have_tables_of_their_own() -> None:
    there = [row("dense", "auto", 40, 92.0, machine="there")]
    found = by_network([*ROWS, *there, taken(ALONE, 10, 91.9)])
    assert [key[-1] for key in found] == ["here", "there"]
    text = "".join(section("net", "cifar10", "here", found["net", "cifar10", "here"]))
    assert "**net** on cifar10. here" in text
    assert "| `dense` | int8 | 91.90 ± 0.30 | - | 10.0 ms, 2.00x |" in text
    assert text.count("| taken |") == 1
