"""Compression with calibration images: their steps in order."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from tensorpress.compression.budget import Budget
from tensorpress.compression.by_loss import MeasuredLayer, measure_layers
from tensorpress.compression.calibration import (
    Recovery,
    batches,
    distil,
    input_moments,
    outputs,
    reconstruct,
    samplers,
    settle_batch_norm,
)
from tensorpress.compression.candidate import Candidate, Choice, choice_of, fit_layer
from tensorpress.compression.request import Calibration
from tensorpress.compression.threshold import fit_budget
from tensorpress.decompose import RankRule, Ranks
from tensorpress.errors import TensorpressError
from tensorpress.layers import refuse_unreadable
from tensorpress.progress import track
from tensorpress.surgery import Cost

IMAGES_TO_MEASURE, IMAGES_TO_FIT = 256, 512
"""Images that layers' losses are measured on, and that layers are fitted on."""


class Calibrated:
    """One compression with images; first the choices, then the compressed network is finished."""

    def __init__(
        self,
        net: nn.Module,
        images: Tensor,
        recovery: Recovery,
        *,
        progress: bool | None = None,
    ) -> None:
        for name, parameter in net.named_parameters():
            if parameter.dtype.itemsize < 4 and parameter.is_floating_point():
                raise TensorpressError(
                    f"calibration works in float32, and '{name}' is {parameter.dtype}: call "
                    "net.float() first, and convert the compressed network."
                )
        self.net, self.images, self.recovery, self.progress = net, images, recovery, progress
        self.parts = batches(images[:IMAGES_TO_FIT], net)
        outputs(net, self.parts[:1])  # what is wrong with the images shows here, before any work

    def as_request(self) -> Calibration:
        """How it was asked for."""
        return Calibration(len(self.images), self.recovery)

    def choices(
        self,
        candidates: Sequence[Candidate],
        cost: Cost,
        rules: Mapping[str, RankRule] | None,
        budget: Budget | None,
        spread: Callable[[list[MeasuredLayer]], dict[str, tuple[int, ...]]],
    ) -> list[Choice]:
        """Decompositions of the candidates by rules, or as a budget asks.

        ``spread`` chooses the ranks under a budget that is spread by losses. Otherwise one that
        would make no layer smaller is among them.
        """
        recovery = self.recovery
        if rules is not None:
            candidates = [c for c in candidates if c.surveyed.name in rules]
        refuse_unfit(candidates)
        needs_moments = recovery.data_aware or (recovery.allocate and budget is not None)
        moments = self.moments(candidates) if needs_moments else {}
        if budget is not None and recovery.allocate:
            ranks = spread(self.measured(candidates, moments))
            return self.fit(candidates, ranks, moments)
        if budget is not None:
            if budget.is_timed:
                raise TensorpressError(
                    f"{budget}: a budget of time is spread by what layers lose, so allocate has to "
                    "stay on."
                )
            asked = fit_budget(candidates, cost, budget, progress=self.progress)
        else:
            assert rules is not None
            asked = [self._decomposed(c, rules[c.surveyed.name], moments, 0) for c in candidates]
        by_name = {c.candidate.surveyed.name: c for c in asked}
        ranks = {name: c.fit.ranks for name, c in by_name.items() if c.is_smaller}
        for made in self.fit(candidates, ranks, moments):
            name = made.candidate.surveyed.name
            fit = dataclasses.replace(made.fit, clamped=by_name[name].fit.clamped)
            by_name[name] = dataclasses.replace(made, fit=fit)
        return list(by_name.values())

    def fit(
        self,
        candidates: Sequence[Candidate],
        ranks: Mapping[str, tuple[int, ...]],
        moments: Mapping[str, Tensor],
    ) -> list[Choice]:
        """Decompositions of the candidates that have ranks, in order of execution."""
        recovery = self.recovery
        chosen = [candidate for candidate in candidates if candidate.surveyed.name in ranks]
        if recovery.reconstruct:
            fits = reconstruct(
                self.net,
                {candidate.surveyed.name: ranks[candidate.surveyed.name] for candidate in chosen},
                self.parts,
                method=chosen[0].method if chosen else "ttpwt",
                sweeps=recovery.sweeps,
                seed=recovery.seed,
                progress=self.progress,
            )
            return [choice_of(candidate, fits[candidate.surveyed.name]) for candidate in chosen]
        return [
            self._decomposed(c, Ranks(*ranks[c.surveyed.name]), moments, recovery.sweeps)
            for c in track(chosen, "decomposing", show=self.progress)
        ]

    def measured(
        self, candidates: Sequence[Candidate], moments: Mapping[str, Tensor]
    ) -> list[MeasuredLayer]:
        """What each candidate costs and loses, at many ranks."""
        parts = batches(self.images[:IMAGES_TO_MEASURE], self.net)
        return measure_layers(self.net, candidates, moments, parts, progress=self.progress)

    def moments(self, candidates: Sequence[Candidate]) -> dict[str, Tensor]:
        """Second moments of what each candidate is fed, (groups, P, P), if its method asks."""
        asking = [candidate for candidate in candidates if candidate.decomposition.data_aware]
        layers = {candidate.surveyed.name: candidate.layer for candidate in asking}
        if not layers:
            return {}
        wanted = samplers(layers, sum(map(len, self.parts)), self.recovery.seed)
        return input_moments(self.net, wanted, self.parts)

    def finish(self, model: nn.Module) -> None:
        """Statistics and distillation, on the compressed network itself."""
        recovery = self.recovery
        if recovery.statistics:
            settle_batch_norm(model, self.net, batches(self.images, model, 256))
        if recovery.distil_epochs:
            (images,) = batches(self.images, model, len(self.images))
            distil(
                model,
                self.net,
                images,
                epochs=recovery.distil_epochs,
                seed=recovery.seed,
                progress=self.progress,
            )

    def _decomposed(
        self, candidate: Candidate, rule: RankRule, moments: Mapping[str, Tensor], sweeps: int
    ) -> Choice:
        name = candidate.surveyed.name
        if not self.recovery.data_aware or name not in moments:
            return fit_layer(candidate, rule)
        try:
            prepared = candidate.decomposition.prepare_for(candidate.layer, moments[name])
            fit = candidate.rounding(lambda rule: prepared(rule, sweeps))(rule)
        except TensorpressError as error:
            raise TensorpressError(f"layer '{name}': {error}") from error
        return choice_of(candidate, fit)


def refuse_unfit(candidates: Sequence[Candidate]) -> None:
    """Raise for a layer whose replacement would lose something, or that is the whole network.

    Raises:
        TensorpressError: naming the layer, as :func:`tensorpress.layers.refuse_unreadable`.
    """
    for candidate in candidates:
        if not candidate.surveyed.name:
            raise TensorpressError(
                "the network is one layer, and calibration looks at layers in a network: put it "
                "into nn.Sequential."
            )
        refuse_unreadable(candidate.surveyed.name, candidate.layer)
