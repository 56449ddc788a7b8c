"""How far a network can be compressed, layer by layer and as a whole, before it is."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from tensorpress.aligned import aligned
from tensorpress.choices import AUTO, RATIOS
from tensorpress.compression.checks import read_methods
from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.options.measured import MeasuredLayer, picks_by_loss
from tensorpress.compression.options.task import Pick
from tensorpress.compression.prepared import with_plain_layers
from tensorpress.compression.selection import Selection, select
from tensorpress.errors import TensorpressError, refuse_no_flag, refuse_no_seed, shown
from tensorpress.layers import Treatment
from tensorpress.request import Recovery
from tensorpress.request.budget import Budget
from tensorpress.rows import CalibrationImages, Outputs, count_rows, read_rows
from tensorpress.surgery import Cost, ExampleInputs, Selector, copy_with, survey
from tensorpress.surgery.plainly import plainly


@dataclass(frozen=True)
class Point:
    """The network at one budget.

    Attributes:
        pcr, fcr: reached.
        loss: sum over the layers of what decomposing each alone does to the answers.
        score: of the network after the steps in closed form, where a way to score was given.
        ranks: of the layers that are treated.
        methods: of these, by what.
    """

    pcr: float
    fcr: float
    loss: float
    score: float | None
    ranks: dict[str, tuple[int, ...]]
    methods: dict[str, str]


@dataclass(frozen=True)
class Exploration:
    """What :func:`explore` found; prints as two tables.

    Attributes:
        layers: what each layer costs and loses at many ranks.
        points: the network at rising budgets; it ends where no rank reaches the next.
        cost: of the network as it is.
        beyond: the ratios that no rank reaches.
        original: the network as it is, where a way to score was given: what their scores are
            compared with.
    """

    layers: tuple[MeasuredLayer, ...]
    points: tuple[Point, ...]
    cost: Cost
    beyond: tuple[float, ...] = ()
    original: Point | None = None

    def __str__(self) -> str:
        rows = [("layer", "divergence at 1/2, 1/4, 1/8 of its parameters", "ranks there")]
        for layer in self.layers:
            found = [nearest(layer, share) for share in (0.5, 0.25, 0.125)]
            losses = "  ".join("       -" if i is None else f"{x:8.4f}" for i, x in found)
            ranks = "   ".join(
                "-" if i is None else " ".join(map(str, layer.ranks[i] or ())) for i, _ in found
            )
            rows.append((layer.name, losses, ranks))
        budgets = [("PCR", "FCR", "sum of divergences", "score")]
        for p in (*([self.original] if self.original else []), *self.points):
            score = "-" if p.score is None else f"{p.score:.2f}"
            budgets.append((f"{p.pcr:.2f}", f"{p.fcr:.2f}", f"{p.loss:.4f}", score))
        lines = [*aligned(rows), "", *aligned(budgets)]
        if self.beyond:
            lines.append(f"no ranks reach {', '.join(f'{ratio:g}' for ratio in self.beyond)}")
        return "\n".join(lines)


@plainly
def explore(
    net: nn.Module,
    example_inputs: ExampleInputs,
    calibration: CalibrationImages,
    *,
    ratios: Sequence[float] = RATIOS,
    method: str | Treatment = AUTO,
    methods: Sequence[str | Treatment] | None = None,
    include: Iterable[Selector] | None = None,
    exclude: Iterable[Selector] = (),
    skip_first: bool = True,
    outputs: Outputs | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    skip_output: bool = True,
    fold_parametrizations: bool = False,
    score: Callable[[nn.Module], float] | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Exploration:
    """Measure what decomposing each layer does to the answers, and what budgets would cost.

    Nothing is compressed for good, and the network is not changed. The divergence is the mean KL
    from the network's own class probabilities, in nats, with one layer alone decomposed.

    Args:
        net, example_inputs, calibration, outputs, mean, std: as for `compress`.
        include, exclude, skip_first, skip_output, fold_parametrizations: as for `compress`.
        method, methods: how layers are treated, as for `compress`.
        ratios: PCR and FCR to look at, both at once.
        score: a way to score a network, such as its accuracy in percent; the network as it is and
            that of each budget, after the steps of recovery in closed form, are then scored.
        seed: of all randomness.
        progress: as for `compress`.

    Raises:
        TensorpressError: as `compress`, or a ratio below 1.
    """
    if not isinstance(ratios, Sequence):
        raise TensorpressError(f"ratios={shown(ratios)}: give several, such as (2, 4, 8).")
    budgets = sorted((Budget(params=it, macs=it) for it in ratios), key=lambda it: it.params or 0)
    refuse_no_flag(
        skip_first=skip_first,
        skip_output=skip_output,
        fold_parametrizations=fold_parametrizations,
    )
    refuse_no_seed(seed)
    if score is not None and not callable(score):
        raise TensorpressError(f"score={shown(score)}: give a function of a network.")
    treatments = read_methods(method, methods)
    surveyed = survey(net, example_inputs, fold_parametrizations=fold_parametrizations)
    selection = Selection.of(include, exclude, skip_first=skip_first, skip_output=skip_output)
    tasks, _ = select(net, surveyed, treatments, selection, takes_linear=False)
    if not tasks:
        raise TensorpressError("there is no layer to explore: all of them stay as they are.")
    recovery = Recovery(distil_epochs=0, seed=seed)
    base = with_plain_layers(net, tasks)
    rows = read_rows(calibration, base, example_inputs, outputs, mean=mean, std=std)
    metric = InputMetric(
        base, rows, recovery, examples=count_rows(example_inputs), progress=progress
    )
    made = 0 if score is None else len(budgets)
    metric.announce(tasks, surveyed.cost.macs, measures=True, networks=made)
    original = None
    if score is not None:
        original = Point(1.0, 1.0, 0.0, score(copy_with(net, {})), {}, {})
    layers = metric.measured(tasks)
    points = []
    for budget in budgets:
        try:
            picks = picks_by_loss(layers, surveyed.cost, budget)
        except TensorpressError:
            break
        scored = None
        if score is not None:
            options = metric.fit(picks)
            chains = {o.task.surveyed.name: o.to_module() for o in options}
            model = copy_with(net, chains)
            metric.finish(model)
            scored = score(model)
        points.append(_point(layers, picks, surveyed.cost, scored))
    beyond = tuple(budget.params for budget in budgets[len(points) :] if budget.params)
    return Exploration(tuple(layers), tuple(points), surveyed.cost, beyond, original)


def nearest(layer: MeasuredLayer, share: float) -> tuple[int | None, float]:
    """The option of the most parameters up to ``share`` of the layer's own, and its loss."""
    most = share * layer.options[0].params
    fitting = [i for i, o in enumerate(layer.options) if i and o.params <= most]
    if not fitting:
        return None, float("nan")
    best = max(fitting, key=lambda i: layer.options[i].params)
    return best, layer.options[best].loss


def _point(
    layers: Sequence[MeasuredLayer],
    picks: Sequence[Pick],
    cost: Cost,
    score: float | None,
) -> Point:
    taken = {pick.name: pick for pick in picks}
    chosen = [layer.picks.index(taken.get(layer.name)) for layer in layers]
    pairs = [(layer.options[0], layer.options[i]) for layer, i in zip(layers, chosen, strict=True)]
    params = cost.params - sum(before.params - after.params for before, after in pairs)
    macs = cost.macs - sum(before.macs - after.macs for before, after in pairs)
    loss = sum(after.loss for _, after in pairs)
    ranks = {pick.name: pick.ranks for pick in picks}
    methods = {pick.name: pick.task.treatment.name for pick in picks}
    return Point(cost.params / params, cost.macs / max(macs, 1), loss, score, ranks, methods)
