"""One energy threshold for the whole network that reaches a budget."""

from collections.abc import Sequence

from tensorpress.compression.budget import Budget
from tensorpress.compression.candidate import Candidate, Choice, fit_layer
from tensorpress.decompose import Energy
from tensorpress.errors import TensorpressError
from tensorpress.progress import progress_bar
from tensorpress.surgery import Cost

HALVINGS = 14
"""The threshold is found to 2^-14, less than the energy of one rank in most layers."""


def fit_budget(
    candidates: Sequence[Candidate], cost: Cost, budget: Budget, *, progress: bool | None = None
) -> list[Choice]:
    """The decompositions at the highest common :class:`Energy` threshold that meets ``budget``.

    The highest threshold keeps the most energy, so it has the least error of those that do. Both
    ratios fall as the threshold rises, which is searched by bisection.

    Args:
        candidates: the layers that may be decomposed.
        cost: of the whole network before.
        budget: the ratios to reach.

    Raises:
        TensorpressError: a ratio that even rank 1 everywhere does not reach; names the best.
    """
    with progress_bar(show=progress) as bar:
        task = bar.add_task("searching the threshold", total=(HALVINGS + 1) * len(candidates))

        def fit(candidate: Candidate, tau: float) -> Choice:
            choice = fit_layer(candidate, Energy(tau))
            bar.advance(task)
            return choice

        if budget.is_met(1.0, 1.0):
            return [fit(candidate, 1.0) for candidate in candidates]
        low, high = 1e-9, 1.0
        best = [fit(candidate, low) for candidate in candidates]
        over: list[Choice] = []
        pcr, fcr = ratios(best, cost)
        if not budget.is_met(pcr, fcr):
            raise TensorpressError(
                f"{budget} cannot be reached: with rank 1 in every layer that may be decomposed, "
                f"PCR is {pcr:.2f} and FCR {fcr:.2f}. Ask for less, or exclude fewer layers."
            )
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            # Ranks never fall as the threshold rises: equal ones at both ends hold in between.
            settled = [a.fit.ranks == b.fit.ranks for a, b in zip(best, over, strict=False)]
            settled = settled or [False] * len(best)
            bar.advance(task, sum(settled))
            choices = [
                known if is_settled else fit(known.candidate, middle)
                for known, is_settled in zip(best, settled, strict=True)
            ]
            if budget.is_met(*ratios(choices, cost)):
                low, best = middle, choices
            else:
                high, over = middle, choices
    return best


def ratios(choices: Sequence[Choice], cost: Cost) -> tuple[float, float]:
    """PCR and FCR of the network with those choices that make a layer smaller."""
    smaller = [choice for choice in choices if choice.is_smaller]
    params = cost.params - sum(c.candidate.surveyed.cost.params - c.params for c in smaller)
    macs = cost.macs - sum(c.candidate.surveyed.cost.macs - c.macs for c in smaller)
    return cost.params / params, cost.macs / macs if macs else 1.0
