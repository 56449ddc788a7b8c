"""The account of a compression: what happened to every layer, and what was saved."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from tensorpress.aligned import ruled
from tensorpress.counted import counted
from tensorpress.surgery.count import LayerCost
from tensorpress.surgery.history import Step, ratio, ratios
from tensorpress.surgery.measured_time import MeasuredTime
from tensorpress.surgery.precision import Precision
from tensorpress.surgery.quality import Quality


@dataclass(frozen=True)
class LayerRow:
    """One layer before and after.

    Attributes:
        name: its name in the network.
        kernel: its kind and weight shape, such as "Conv2d 64x32x3x3 /2 g4" (stride, groups).
        ranks: R1, R2, ...; None where it stays.
        kept_energy, relative_error: of the kernel; None where it stays or starts at random.
        params_before, params_after, macs_before, macs_after: its own, bias included in params.
        decision: "ttpwt", or why it stays.
        method: the treatment that it got; None where it stays.
    """

    name: str
    kernel: str
    ranks: tuple[int, ...] | None
    kept_energy: float | None
    relative_error: float | None
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    decision: str
    method: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        layer: nn.Module,
        costs: tuple[LayerCost, LayerCost],
        decision: str,
        *,
        ranks: tuple[int, ...] | None = None,
        fit: tuple[float | None, float | None] = (None, None),
        method: str | None = None,
    ) -> "LayerRow":
        """The row of ``layer`` as it was, with its costs before and after.

        ``fit`` is the energy that is kept and the relative error, of what is no longer the same.
        """
        before, after = costs
        return cls(
            name=name,
            kernel=describe_kernel(layer),
            ranks=ranks,
            kept_energy=fit[0],
            relative_error=fit[1],
            params_before=before.params,
            params_after=after.params,
            macs_before=before.macs,
            macs_after=after.macs,
            decision=decision,
            method=method,
        )


@dataclass(frozen=True)
class Account:
    """A compressed network and the honest account of it; prints as an aligned table.

    Attributes:
        model: the compressed network.
        layers: a row per convolution and linear layer, in order of execution.
        params_before, params_after, macs_before, macs_after: of the whole network.
        request: how it was asked for, as plain values: method, rank rule or budget, and what was
            included and excluded.
        history: the compressions that the network went through before, the first one first: the
            request of each, and parameters and MACs before and after.
        quality: what was reached under a budget of quality; None without one.
        precision: what the network is to be executed in, where that was chosen, too.
        time: what was measured under a budget of time; None without one, and where ``precision``
            says it.
    """

    model: nn.Module
    layers: tuple[LayerRow, ...]
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    request: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Step, ...] = ()
    quality: Quality | None = None
    precision: Precision | None = None
    time: MeasuredTime | None = None

    @property
    def story(self) -> tuple[Step, ...]:
        """All compressions up to this one."""
        this = {
            "request": dict(self.request),
            "params_before": self.params_before,
            "params_after": self.params_after,
            "macs_before": self.macs_before,
            "macs_after": self.macs_after,
        }
        return (*self.history, this)

    @property
    def pcr(self) -> float:
        """Parameter compression ratio: parameters before / after."""
        return ratio(self.params_before, self.params_after)

    @property
    def fcr(self) -> float:
        """FLOPs compression ratio: MACs before / after."""
        return ratio(self.macs_before, self.macs_after)

    def __str__(self) -> str:
        head = ("layer", "kernel", "ranks", "kept", "error", "params", "MACs", "decision")
        lines = ruled(head, [_cells(row) for row in self.layers], right=(3, 4))
        return "\n".join([*lines, "", self.summary()])

    def to_dict(self) -> dict[str, Any]:
        """The account without the model, as JSON values: what files keep of it."""
        measured = {"quality": self.quality, "precision": self.precision, "time": self.time}
        return {key: found.to_dict() for key, found in measured.items() if found is not None} | {
            "pcr": self.pcr,
            "fcr": self.fcr,
            "params_before": self.params_before,
            "params_after": self.params_after,
            "macs_before": self.macs_before,
            "macs_after": self.macs_after,
            "request": dict(self.request),
            "history": [dict(step) for step in self.history],
            "layers": [
                dataclasses.asdict(row) | {"ranks": row.ranks and list(row.ranks)}
                for row in self.layers
            ],
        }

    def summary(self) -> str:
        """Two lines: parameters with PCR, MACs with FCR; and those of all compressions together.

        More say the quality, the precision and the time where these were asked for, and the last
        one that nothing was treated, where that is so, and why.
        """
        lines = _summary("", self.story[-1:])
        if self.quality is not None:
            lines.append(self.quality.sentence())
        if self.precision is not None:
            treated = sum(row.method is not None for row in self.layers)
            lines += self.precision.sentences(treated, len(self.layers))
        if self.time is not None:
            lines.append(self.time.sentence())
        if self.history:
            lines += ["", *(_step(step) for step in self.story), *_summary("in all ", self.story)]
        if self.layers and not any(row.method for row in self.layers):
            convolutions = [row for row in self.layers if not row.kernel.startswith("Linear")]
            rows = convolutions or self.layers
            what = counted(len(rows), "convolutions" if convolutions else "layers")
            lines.append(f"nothing was decomposed: {tally((row.decision for row in rows), what)}")
        return "\n".join(lines)


def tally(reasons: Iterable[str], what: str) -> str:
    """Why layers stay, the most frequent reason first: "48 of 49 convolutions: excluded; ...".

    Args:
        reasons: one for each layer; sizes that stand behind it in brackets tell layers apart.
        what: they are, and how many there are in all.
    """
    counted = Counter(_without_sizes(reason.removeprefix("kept: ")) for reason in reasons)
    return "; ".join(f"{n} of {what}: {reason}" for reason, n in counted.most_common())


def _without_sizes(reason: str) -> str:
    return reason.split(" (")[0] if reason.startswith("would not get smaller") else reason


def _summary(prefix: str, story: Sequence[Step]) -> list[str]:
    first, last = story[0], story[-1]
    lines = []
    for label, key, name in (("params", "params", "PCR"), ("MACs  ", "macs", "FCR")):
        before, after = first[f"{key}_before"], last[f"{key}_after"]
        lines.append(f"{prefix}{label} {before:,} -> {after:,}  {name} {ratio(before, after):.2f}")
    return lines


def _step(step: Step) -> str:
    pcr, fcr = ratios([step])
    return f"{step['request'].get('method', '?')}: PCR {pcr:.2f}, FCR {fcr:.2f}"


def describe_kernel(layer: nn.Module) -> str:
    """Kind and weight shape of a layer, with stride, dilation and groups where they are not 1."""
    weight = getattr(layer, "weight", None)
    shape = "x".join(map(str, weight.shape)) if weight is not None else ""
    marks = []
    for symbol, setting in (("/", "stride"), ("d", "dilation")):
        values = getattr(layer, setting, ())
        values = (values,) if isinstance(values, int) else values  # PyTorch runs with one for all
        if any(value != 1 for value in values):
            marks.append(
                symbol + "x".join(map(str, values if len(set(values)) > 1 else values[:1]))
            )
    if getattr(layer, "groups", 1) > 1:
        marks.append(f"g{layer.groups}")
    return " ".join([type(layer).__name__, shape, *marks]).strip()


def _cells(row: LayerRow) -> tuple[str, ...]:
    return (
        row.name or "(network)",
        row.kernel,
        " ".join(map(str, row.ranks)) if row.ranks else "-",
        "-" if row.kept_energy is None else f"{row.kept_energy:.3f}",
        "-" if row.relative_error is None else f"{row.relative_error:.3f}",
        _change(row.params_before, row.params_after),
        _change(row.macs_before, row.macs_after),
        row.decision,
    )


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"
