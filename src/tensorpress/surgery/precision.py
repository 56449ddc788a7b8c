"""The precision that was chosen for a network beside its layers, and what it was measured to be."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tensorpress.surgery.measured_time import measured_in


@dataclass(frozen=True)
class Precision:
    """What a network is to be executed in, so that it meets its budget.

    Attributes:
        name: "int8", or "auto" for the runtime's own.
        runtime, threads, batch: what it was measured in.
        milliseconds: of the network so; ``before``: of the network before, in the runtime's own
            precision, measured in turns.
        layers: how many it has; ``in_int8``: how many of them compute in int8.
        in_float: of a network in int8, the layers to leave in float32, by name: as ``keep_float``
            of ``export`` and ``plan`` takes them.
        rivals: what else was measured and not taken, a phrase each.
    """

    name: str
    runtime: str
    threads: int
    batch: int
    milliseconds: float
    before: float
    layers: int = 0
    in_int8: int = 0
    in_float: tuple[str, ...] = ()
    rivals: tuple[str, ...] = ()

    def sentences(self, decomposed: int, of: int) -> list[str]:
        """A line of what was chosen, and one for each rival.

        Args:
            decomposed: layers that got another form.
            of: how many layers there are.
        """
        forms = f"forms in {decomposed} of {of} layers" if decomposed else "nothing decomposed"
        if self.name != "int8":
            what = f"{self.name} precision, no int8"
        elif self.in_int8 == self.layers:
            what = "int8 everywhere"
        else:
            what = f"int8 in {self.in_int8} of {self.layers} layers"
        line = (
            f"{what}, {forms}: {self.before / self.milliseconds:.2f}x the speed, "
            f"{self.before:.2f} -> {self.milliseconds:.2f} ms "
            f"({measured_in(self.runtime, self.threads, self.batch)})"
        )
        return [line, *(f"  and not {rival}" for rival in self.rivals)]

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self) | {"in_float": list(self.in_float), "rivals": list(self.rivals)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Precision":
        """What :meth:`to_dict` gave.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        lists = {key: tuple(map(str, content[key])) for key in ("in_float", "rivals")}
        return cls(**{**content, **lists})
