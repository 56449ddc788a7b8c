"""One step of a treatment's rules for the whole network that reaches a budget of ratios."""

from collections.abc import Sequence

from tensorpress.compression.bisection import largest_step
from tensorpress.compression.options.task import LayerOption, LayerTask
from tensorpress.layers.methods import TTPWT
from tensorpress.progress import progress_bar
from tensorpress.request.budget import Budget, Unreachable
from tensorpress.surgery import Cost, ratio


def fit_budget(
    tasks: Sequence[LayerTask], cost: Cost, budget: Budget, *, progress: bool | None = None
) -> list[LayerOption]:
    """The options at the highest common step that meets ``budget``.

    For decompositions a step is an :class:`Energy` threshold. The highest keeps the most energy, so
    it has the least error of those that do. Both ratios fall as the step rises, which is searched
    by bisection.

    Args:
        tasks: the layers that may be treated, all by one treatment.
        cost: of the whole network before.
        budget: the ratios to reach.

    Raises:
        Unreachable: a ratio that even the least step does not reach; names the best.
    """
    treatment = tasks[0].treatment if tasks else TTPWT()
    best: list[LayerOption] = []
    over: list[LayerOption] = []
    with progress_bar(show=progress) as bar:
        total = (treatment.steps.bit_length() + 1) * len(tasks)
        shown = bar.add_task("searching the threshold", total=total)

        def at(step: int) -> list[LayerOption]:
            # Ranks never fall as the step rises: equal ones at both ends hold in between.
            settled = [a.fit.ranks == b.fit.ranks for a, b in zip(best, over, strict=False)]
            rule = treatment.rule_at(step)
            options = []
            for n, task in enumerate(tasks):
                options.append(best[n] if settled and settled[n] else task.at(rule))
                bar.advance(shown)
            return options

        def meets(step: int) -> bool:
            nonlocal best, over
            options = at(step)
            if is_met := budget.is_met(*ratios(options, cost)):
                best = options
            else:
                over = options
            return is_met

        if budget.is_met(1.0, 1.0):
            return at(treatment.steps)
        if largest_step(meets, treatment.steps) is None:
            pcr, fcr = ratios(over, cost)
            raise Unreachable(
                f"{budget} cannot be reached: with {treatment.least}, PCR is {pcr:.2f} and FCR "
                f"{fcr:.2f}. Ask for less, or exclude fewer layers."
            )
    return best


def ratios(options: Sequence[LayerOption], cost: Cost) -> tuple[float, float]:
    """PCR and FCR of the network with those options that make a layer smaller."""
    smaller = [option for option in options if option.is_smaller]
    params = cost.params - sum(o.task.surveyed.cost.params - o.params for o in smaller)
    macs = cost.macs - sum(o.task.surveyed.cost.macs - o.macs for o in smaller)
    return cost.params / params, ratio(cost.macs, macs)
