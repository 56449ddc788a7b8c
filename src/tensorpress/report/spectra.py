"""How fast the singular values of a layer fall: what each step of its decomposition could keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from tensorpress.artifacts import LayerEntry
from tensorpress.compression import Request
from tensorpress.decompose import Energy, RankRule, Ranks, RelativeError
from tensorpress.errors import TensorpressError
from tensorpress.layers import DECOMPOSITIONS, METHODS, factorize_layer
from tensorpress.layers.padded import Padded
from tensorpress.layers.taken_apart import apart_at
from tensorpress.progress import track
from tensorpress.ranks.rules import Step
from tensorpress.ranks.spectrum import Floats, Spectrum
from tensorpress.surgery import match_patterns


@dataclass(frozen=True)
class StepSpectrum:
    """One step of a decomposition.

    Attributes:
        kept: the share of the step's energy that the ranks 1, 2, ... keep, ascending to 1.
        rank: the rank that the compressed network has.
        threshold: the share that the rank rule asked for; None where it sets none.
    """

    kept: tuple[float, ...]
    rank: int
    threshold: float | None

    def needs(self, share: float) -> int:
        """The least rank that keeps at least ``share``."""
        return min(int(np.searchsorted(self.kept, share)) + 1, len(self.kept))


@dataclass(frozen=True)
class LayerSpectra:
    """The steps of one layer, and how well the kernel is kept at the ranks that were taken."""

    name: str
    steps: tuple[StepSpectrum, ...]
    kept_energy: float
    relative_error: float


def read_spectra(
    dense: nn.Module, entries: Mapping[str, LayerEntry], request: Request | None
) -> dict[str, LayerSpectra]:
    """The spectra of the factorized layers ``entries``, from the weights of the dense network.

    Each step's spectrum is the one that the decomposition met at the recorded ranks before it. A
    method that is no row of truncations at these ranks has no steps.

    Raises:
        TensorpressError: a layer that the network lacks or whose kernel does not fit the ranks.
    """
    modules = dict(dense.named_modules())
    aparts = {name: apart_at(modules, name) for name in entries}
    places = {name: at[0] if at else name for name, at in aparts.items()}
    rules = _rules(dense, list(places.values()), request.rank) if request else {}
    found = {}
    others = METHODS.keys() - DECOMPOSITIONS.keys()
    factorized = {n: entry for n, entry in entries.items() if entry.method not in others}
    for name, entry in track(list(factorized.items()), "spectra"):
        place, apart = places[name], aparts[name]
        layer = modules.get(name) if apart is None else apart[1].layer
        layer = layer.layer if isinstance(layer, Padded) else layer
        if layer is None:
            raise TensorpressError(f"the dense network has no layer '{name}'.")
        watched = _Watched(*entry.ranks)
        fit = factorize_layer(name, layer, entry.method, watched)
        if fit.ranks != tuple(entry.ranks):
            raise TensorpressError(f"layer '{name}' cannot have the ranks {entry.ranks}.")
        steps = tuple(
            StepSpectrum(_kept(squares), rank, _threshold(rules.get(place), squares.sum(), step))
            for rank, (step, squares) in zip(entry.ranks, watched.steps(), strict=False)
        )
        kept, error = fit.kept_energy, fit.relative_error
        assert kept is not None
        assert error is not None
        found[place] = LayerSpectra(place, steps, kept, error)
    return found


class _Watched(Ranks):
    """Fixed ranks, and the spectra that they were asked about."""

    def __init__(self, *values: int) -> None:
        super().__init__(*values)
        object.__setattr__(self, "trains", [])

    trains: list[dict[int, tuple[Step, Spectrum]]]

    def check_order(self, order: int) -> None:
        """Called once a train, at its start: a convolution has one for each of its groups."""
        super().check_order(order)
        self.trains.append({})

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:
        # Asked again where rounding could show; the last answer is the one that counts.
        self.trains[-1][step.index] = (step, spectrum)
        return super().choose(spectrum, step, pessimistic=pessimistic)

    def steps(self) -> list[tuple[Step, Floats]]:
        """Each step with the squared singular values of all groups, added up rank by rank.

        None for a kernel of zeros.
        """
        steps = []
        for n, (step, _) in self.trains[0].items() if self.trains else ():
            asked = [train[n] for train in self.trains]
            energy = sum(step.energy for step, _ in asked)
            if energy > 0:
                squares = np.sum([spectrum.squares for _, spectrum in asked], axis=0)
                steps.append((Step(n, step.count, energy), squares))
        return steps


def _kept(squares: Floats) -> tuple[float, ...]:
    kept = np.cumsum(squares) / squares.sum()
    return tuple(np.minimum(kept, 1.0).tolist())


def _threshold(rule: RankRule | None, energy: float, step: Step) -> float | None:
    if isinstance(rule, Energy):
        return rule.tau
    if isinstance(rule, RelativeError):
        return max(0.0, 1.0 - rule.eps**2 * step.energy / step.count / energy)
    return None


def _rules(
    dense: nn.Module, names: Sequence[str], asked: RankRule | Mapping[str, RankRule] | None
) -> dict[str, RankRule]:
    if not isinstance(asked, Mapping):
        return dict.fromkeys(names, asked) if asked else {}
    try:
        return match_patterns(dense, names, asked, "rank pattern", {})
    except TensorpressError:  # a pattern that fitted layers which then stayed
        return {}
