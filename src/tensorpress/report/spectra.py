"""How fast the singular values of a layer fall: what each step of its decomposition could keep."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from tensorpress.artifacts import LayerEntry
from tensorpress.compression import Request
from tensorpress.decompose import Energy, RankRule, Ranks, RelativeError
from tensorpress.errors import TensorpressError
from tensorpress.layers import DECOMPOSITIONS, METHODS, factorize_layer
from tensorpress.layers.kernels import group_kernels
from tensorpress.layers.kinds import Layer, is_layer
from tensorpress.layers.methods.cp import CPMethod
from tensorpress.progress import track
from tensorpress.ranks.rules import Step
from tensorpress.ranks.spectrum import Floats, Spectrum
from tensorpress.report.dense_layers import dense_layers
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
    """The spectra of one layer.

    Attributes:
        steps: of its decomposition, one after the other; of a sum of terms, which is no row of
            truncations, the unfoldings of its kernel.
        kept_energy, relative_error: at the ranks that were taken; None where it is a sum of terms
            that was fitted to images.
        truncated: whether the steps are truncations. Otherwise the rank of a step is the most that
            the terms can have there, and what is kept at it bounds what they keep.
    """

    name: str
    steps: tuple[StepSpectrum, ...]
    kept_energy: float | None
    relative_error: float | None
    truncated: bool = True


def read_spectra(
    dense: nn.Module, entries: Mapping[str, LayerEntry], request: Request | None
) -> dict[str, LayerSpectra]:
    """The spectra of the factorized layers ``entries``, from the weights of the dense network.

    Each step's spectrum is the one that the decomposition met at the recorded ranks before it. A
    method that is neither a row of truncations at these ranks nor a sum of terms has no steps.

    Raises:
        TensorpressError: a layer that the network lacks or whose kernel does not fit the ranks.
    """
    others = METHODS.keys() - DECOMPOSITIONS.keys()
    factorized = {n: entry for n, entry in entries.items() if entry.method not in others}
    layers = dense_layers(dense, factorized)
    rules = _rules(
        dense, [found.place for found in layers.values()], request.rank if request else None
    )
    calibrated = request is not None and request.calibration is not None
    spectra = {}
    for name, entry in track(list(factorized.items()), "spectra"):
        place, layer = layers[name].place, layers[name].layer
        if layer is None:
            raise TensorpressError(f"the dense network has no layer '{name}'.")
        method = METHODS.get(entry.method)
        if isinstance(method, CPMethod) and is_layer(layer):
            steps = _unfoldings(method, cast(Layer, layer), entry.ranks[0])
            if calibrated:  # its terms fit what the layer is fed, and no search would find them
                spectra[place] = LayerSpectra(place, steps, None, None, truncated=False)
                continue
        watched = _Watched(*entry.ranks)
        fit = factorize_layer(name, layer, entry.method, watched)
        if fit.ranks != tuple(entry.ranks):
            raise TensorpressError(f"layer '{name}' cannot have the ranks {entry.ranks}.")
        truncated = not isinstance(method, CPMethod)
        if truncated:
            rule, truncations = rules.get(place), zip(entry.ranks, watched.steps(), strict=False)
            steps = tuple(
                StepSpectrum(_kept(squares), rank, _threshold(rule, squares.sum(), step))
                for rank, (step, squares) in truncations
            )
        spectra[place] = LayerSpectra(
            place, steps, fit.kept_energy, fit.relative_error, truncated=truncated
        )
    return spectra


def _unfoldings(method: CPMethod, layer: Layer, rank: int) -> tuple[StepSpectrum, ...]:
    """The spectra of a kernel that becomes a sum of terms, unfolded between its modes.

    A sum of so many terms has no higher rank than that in any unfolding, so that it keeps no more
    than what is drawn there.
    """
    modes = [link.mode for link in method.links(layer)]
    kernels = [kernel.double() for kernel in group_kernels(layer)]
    steps = []
    for n in range(1, len(modes)):
        sides = (math.prod(modes[:n]), -1)
        values = [torch.linalg.svdvals(kernel.reshape(sides)) for kernel in kernels]
        squares = sum(v.square() for v in values).numpy()
        if squares.any():
            steps.append(StepSpectrum(_kept(squares), min(rank, len(squares)), None))
    return tuple(steps)


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
