"""What was measured for a plan, as rows that print as an aligned table."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tensorpress.aligned import ruled
from tensorpress.deploy.execution import Execution
from tensorpress.deploy.latency import holds

OWN_DENSE, OWN_CHAIN = "own dense", "own chain"
WAYS = {"plan": "plan", "dense": "dense", "chain": "chain"}
OWN = {OWN_DENSE: "dense", OWN_CHAIN: "chain"}
"""The names of whole networks that are measured, and how they are called where they are printed."""


@dataclass(frozen=True)
class PlanRow:
    """One factorized layer.

    Attributes:
        name, kernel, ranks: the layer, as in the account of its compression.
        chosen: how it is executed.
        seconds: of each way that was measured, for the inputs that the plan was made with: the
            chain as it is stored, and the dense kernel if the layer stands for one. 0 where the
            runtime does not tell a layer from its neighbours.
    """

    name: str
    kernel: str
    ranks: tuple[int, ...]
    chosen: Execution
    seconds: Mapping[Execution, float]

    @property
    def stored(self) -> Execution:
        """The chain executed as it is stored."""
        return next(c for c in self.seconds if c.is_stored)

    @property
    def dense_seconds(self) -> float | None:
        """Of the layer as its dense kernel: what it took before it was compressed.

        None for a chain that no one kernel stands for.
        """
        return next((taken for way, taken in self.seconds.items() if way.is_dense), None)

    @property
    def speedup(self) -> float | None:
        """Seconds of the dense kernel / seconds as chosen; None where one of them is not known."""
        taken = self.seconds[self.chosen]
        return self.dense_seconds / taken if self.dense_seconds and taken else None


@dataclass(frozen=True)
class PlanTable:
    """The layers of a plan and what the whole network takes, measured in turns.

    Attributes:
        rows: a row per factorized layer.
        whole: median seconds of the network by how its layers are executed: "plan", "dense"
            (every layer as its dense kernel) and "chain" (as it is stored); and where the runtime
            computes in another precision by itself, "own dense" and "own chain" in that.
        setting: runtime, version, threads, precision, batch, processor; and "own", the precision
            that the runtime takes by itself, where that is another.
        best: the seconds of the fastest calls, likewise.
    """

    rows: tuple[PlanRow, ...]
    whole: Mapping[str, float]
    setting: Mapping[str, Any]
    best: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        head = ("layer", "kernel", "ranks", "executed as", "ms", "dense", "chain", "speedup")
        lines = ruled(head, [_cells(row) for row in self.rows], right=range(4, 8))
        return "\n".join([*(lines if self.rows else []), "", self.summary()]).strip()

    def summary(self) -> str:
        """The setting, and the whole network's milliseconds."""
        setting = self.setting
        described = (
            f"{setting['runtime']} {setting['version']}, {setting['threads']} "
            f"{'thread' if setting['threads'] == 1 else 'threads'}, {setting['precision']}, "
            f"batch {setting['batch']}"
        )
        lines = [
            described,
            f"whole network: {self._times(WAYS)}; {self._speed('dense')} of dense kernels",
        ]
        if OWN_DENSE in self.whole:
            own = f"in {setting['own']}, as {setting['runtime']} runs it by itself"
            lines.append(
                f"{own}: {self._times(OWN)}; {self._speed(OWN_DENSE)} of that dense network"
            )
        return "\n".join(lines)

    def _times(self, names: Mapping[str, str]) -> str:
        return ", ".join(f"{said} {self.whole[name] * 1e3:.2f} ms" for name, said in names.items())

    def _speed(self, other: str) -> str:
        """Of the plan over another way, and whether that is certain."""
        if not self.whole["plan"]:
            return "1.00x the speed"
        ratio = self.whole[other] / self.whole["plan"]
        fast = self.best[other] / self.best["plan"] if self.best.get("plan") else ratio
        doubt = "" if holds(ratio, fast) else f" (UNCERTAIN: {fast:.2f}x in the fastest calls)"
        return f"{ratio:.2f}x the speed{doubt}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "setting": dict(self.setting),
            "whole": dict(self.whole),
            "best": dict(self.best),
            "layers": [
                {
                    "name": row.name,
                    "kernel": row.kernel,
                    "ranks": list(row.ranks),
                    "chosen": _listed(row.chosen),
                    "seconds": [[*_listed(c), taken] for c, taken in row.seconds.items()],
                }
                for row in self.rows
            ],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PlanTable":
        """What :meth:`to_dict` gave.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        rows = tuple(
            PlanRow(
                name=str(row["name"]),
                kernel=str(row["kernel"]),
                ranks=tuple(map(int, row["ranks"])),
                chosen=_read(*row["chosen"]),
                seconds={_read(r, m): float(taken) for r, m, taken in row["seconds"]},
            )
            for row in values["layers"]
        )
        for row in rows:
            if not {row.chosen, Execution((1,) * sum(row.chosen.runs))} <= set(row.seconds):
                raise ValueError(f"no measurement for '{row.name}'")
        whole, best = (
            {str(name): float(taken) for name, taken in values[key].items()}
            for key in ("whole", "best")
        )
        setting = dict(values["setting"])
        seconds = [
            *whole.values(),
            *best.values(),
            *(s for row in rows for s in row.seconds.values()),
        ]
        if not all(0 <= taken < math.inf for taken in seconds):
            raise ValueError("times that nothing takes")
        if set(whole) != {*WAYS, *(OWN if "own" in setting else ())}:
            raise ValueError("no measurement of the whole network")
        return cls(rows, whole, setting, best)


def _listed(execution: Execution) -> list[Any]:
    return [list(execution.runs), execution.multiple]


def _read(runs: list[int], multiple: int) -> Execution:
    return Execution(tuple(map(int, runs)), int(multiple))


def _cells(row: PlanRow) -> tuple[str, ...]:
    return (
        row.name or "(network)",
        row.kernel,
        " ".join(map(str, row.ranks)),
        "dense" if row.chosen.is_dense else str(row.chosen),
        _milliseconds(row.seconds[row.chosen]),
        _milliseconds(row.dense_seconds),
        _milliseconds(row.seconds[row.stored]),
        f"{row.speedup:.2f}x" if row.speedup else "-",
    )


def _milliseconds(seconds: float | None) -> str:
    return f"{seconds * 1e3:.3f}" if seconds else "-"
