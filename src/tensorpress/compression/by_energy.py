"""What layers lose at many thresholds, where there are no images to tell."""

from collections.abc import Sequence

from tensorpress.compression.by_loss import SHARES, MeasuredLayer
from tensorpress.compression.candidate import Candidate, fit_layer
from tensorpress.compression.least_loss import Option
from tensorpress.decompose import Energy
from tensorpress.progress import track


def measure_energies(
    candidates: Sequence[Candidate], *, progress: bool | None = None
) -> list[MeasuredLayer]:
    """Decompose each candidate at many thresholds; the loss is the lost share of its energy.

    Decompositions that would not be smaller than the layer are left out.

    Raises:
        TensorpressError: naming the layer, for a kernel that cannot be decomposed.
    """
    measured = []
    for candidate in track(list(candidates), "decomposing", show=progress):
        cost = candidate.surveyed.cost
        options: dict[tuple[int, ...] | None, Option] = {None: Option(cost.params, cost.macs, 0.0)}
        for share in SHARES:
            made = fit_layer(candidate, Energy(share))
            if made.is_smaller:
                lost = made.fit.relative_error**2
                options.setdefault(made.fit.ranks, Option(made.params, made.macs, lost))
        measured.append(MeasuredLayer(candidate, tuple(options), tuple(options.values())))
    return measured
