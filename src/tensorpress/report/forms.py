"""The forms of the layers: which there are, where, and why they were chosen."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tensorpress.choices import AUTO, CRITERIA
from tensorpress.compression import Request
from tensorpress.surgery import LayerRow, Precision, tally

STAYS = "stays as it is"


@dataclass(frozen=True)
class Form:
    """A form that layers of the network have.

    Attributes:
        name: of the method, or `STAYS`.
        places: the layers, numbered in order of execution.
        series: its colour on all charts, 0 for the most frequent; None where they stay.
    """

    name: str
    places: tuple[int, ...]
    series: int | None


def forms_of(rows: Sequence[LayerRow]) -> list[Form]:
    """The forms of layers, the most frequent one first; last what stays, if anything does."""
    counted = Counter(row.method for row in rows if row.method is not None)
    found = [
        Form(name, _places(rows, name), series)
        for series, (name, _) in enumerate(counted.most_common())
    ]
    left = _places(rows, None)
    return [*found, Form(STAYS, left, None)] if left else found


def why(
    rows: Sequence[LayerRow], request: Request | None, precision: Precision | None = None
) -> str:
    """Why the layers have these forms, in sentences, as far as that is recorded.

    ``precision`` is what was chosen along with them.
    """
    left = [row.decision for row in rows if row.method is None]
    stay = f"Why layers stay: {tally(left, f'{len(left)}')}." if left else ""
    chosen = []
    if precision is not None:
        lines = precision.sentences(len(rows) - len(left), len(rows))
        told = "; ".join(line.strip() for line in lines)
        chosen = [f"Precision was chosen along with the forms: {told}."]
    return " ".join(filter(None, [*_asked(request), *chosen, stay]))


def _asked(request: Request | None) -> Iterator[str]:
    if request is None:
        yield "What was asked for is not recorded."
        return
    budget, calibration = request.budget, request.calibration
    if request.treated_by == AUTO:
        yield "Each layer was tried in every form, at several ranks each."
    if request.treated_by in CRITERIA:
        yield "Channels were taken out where that costs least."
    elif budget is None:
        yield "The rank rule says how much of each layer is kept."
    elif (
        request.treated_by == AUTO
        or budget.is_timed
        or (calibration is not None and calibration.recovery.allocate)
    ):
        yield (
            f"Of the choices that reach {budget}, that one was taken of which the layers' losses "
            "add up to least."
        )
    else:
        yield f"One threshold for all layers was looked for that reaches {budget}."


def _places(rows: Sequence[LayerRow], method: str | None) -> tuple[int, ...]:
    return tuple(number for number, row in enumerate(rows) if row.method == method)
