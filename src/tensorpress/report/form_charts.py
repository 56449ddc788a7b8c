"""Charts by layer in the colours of the forms: which there are, what they lose, what they take."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tensorpress.charts import Axis, Bars, Chart, Lane, round_axis
from tensorpress.deploy import PlanRow
from tensorpress.report.forms import Form
from tensorpress.report.layer_axis import INNER, OUTER, by_layer, dividers_of, layer_axis
from tensorpress.report.quantity import layer_name, milliseconds, share
from tensorpress.surgery import LayerRow

LANE = 36
"""Pixels of a row on a page."""


def form_chart(rows: Sequence[LayerRow], forms: Sequence[Form]) -> Chart:
    """The form of each layer, a row for each form."""
    lanes = [Lane(f"{form.name}, {_layers(form)}", form.places, form.series) for form in forms]
    return Chart(
        f"The form of each layer in order: {form_finding(forms)}",
        layer_axis([row.name for row in rows]),
        Axis(0, len(lanes)),
        lanes=lanes,
        dividers=dividers_of([row.name for row in rows]),
        tips=[f"{layer_name(row.name)}: {row.decision}" for row in rows],
        height=LANE * len(lanes),
    )


def form_finding(forms: Sequence[Form]) -> str:
    """How many layers have which form."""
    return f"{', '.join(f'{form.name} in {_layers(form)}' for form in forms)}."


def loss_chart(rows: Sequence[LayerRow], forms: Sequence[Form], of: str) -> Chart:
    """The share that each layer lost; ``of`` says of what."""
    lost = [_lost(row) for row in rows]
    texts = [
        f"{layer_name(row.name)}: loses {value:.3f}, relative error "
        f"{share(row.relative_error)}, {row.method}"
        if row.kept_energy is not None
        else f"{layer_name(row.name)}: {row.decision}"
        for row, value in zip(rows, lost, strict=True)
    ]
    label = f"By layer the share that is lost {of}. {loss_finding(rows)}"
    y = round_axis(0, max([*lost, 1e-3]), "share lost", "{:.3g}".format)
    return by_layer(label, [row.name for row in rows], y, texts, bars=_by_form(lost, forms))


def loss_finding(rows: Sequence[LayerRow]) -> str:
    """Which layers lose most and least."""
    known = [(_lost(row), layer_name(row.name)) for row in rows if row.kept_energy is not None]
    if not known:
        return "No layer's loss is known."
    (least, best), (most, worst) = min(known), max(known)
    if len(known) == 1:
        return f"{worst} loses {most:.3f}."
    return f"{worst} loses most, {most:.3f}; {best} least, {least:.3f}."


def time_chart(
    rows: Sequence[LayerRow], forms: Sequence[Form], timed: Mapping[str, PlanRow]
) -> Chart:
    """Milliseconds of each decomposed layer, as its dense kernel and as it is planned."""
    found = [timed.get(row.name) for row in rows]
    dense = [1e3 * (row.dense_seconds or 0.0) if row else 0.0 for row in found]
    planned = [1e3 * row.seconds[row.chosen] if row else 0.0 for row in found]
    texts = [
        f"{layer_name(row.name)}: dense {old:.3f} ms, as stored "
        f"{1e3 * taken.seconds[taken.stored]:.3f} ms, planned {new:.3f} ms"
        if taken
        else f"{layer_name(row.name)}: not timed by itself"
        for row, taken, old, new in zip(rows, found, dense, planned, strict=True)
    ]
    label = f"Milliseconds of each decomposed layer, dense and planned. {time_finding(timed)}"
    bars = [
        Bars(dense, "before", "dense", OUTER),
        *(replace(b, name=f"planned, {b.name}") for b in _by_form(planned, forms)),
    ]
    y = round_axis(0, max([*dense, *planned, 1e-3]), "ms")
    return by_layer(label, [row.name for row in rows], y, texts, bars=bars)


def time_finding(timed: Mapping[str, PlanRow]) -> str:
    """What the decomposed layers take together, and what a plan makes of them."""
    rows = timed.values()
    dense = sum(row.dense_seconds or 0.0 for row in rows)
    stored = sum(row.seconds[row.stored] for row in rows)
    planned = sum(row.seconds[row.chosen] for row in rows)
    as_dense = sum(row.chosen.is_dense for row in rows)
    as_stored = sum(row.chosen.is_stored for row in rows)
    return (
        f"Measured one by one while planning, the {len(timed)} decomposed layers take "
        f"{milliseconds(planned)} as planned, {milliseconds(dense)} as their dense kernels and "
        f"{milliseconds(stored)} as stored. The plan runs {as_stored} as stored, {as_dense} as "
        "their dense kernels and "
        f"{len(timed) - as_stored - as_dense} with some cores merged."
    )


def _by_form(values: Sequence[float], forms: Sequence[Form]) -> list[Bars]:
    """Bars in the colours of the forms, for the layers that were decomposed."""
    bars = []
    for form in forms:
        if form.series is None:
            continue
        own = [value if i in form.places else 0.0 for i, value in enumerate(values)]
        bars.append(Bars(own, "after", form.name, INNER, series=form.series))
    return bars


def _layers(form: Form) -> str:
    return f"{len(form.places)} {'layer' if len(form.places) == 1 else 'layers'}"


def _lost(row: LayerRow) -> float:
    return 0.0 if row.kept_energy is None else max(0.0, 1.0 - row.kept_energy)
