"""A budget of quality: the smallest or fastest network whose answers are still good enough."""

from collections.abc import Sequence

from torch import nn

from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.options.task import LayerTask, Pick
from tensorpress.compression.targets.common_step import ratios
from tensorpress.compression.targets.grid import Grid, faster, smaller
from tensorpress.compression.targets.judge import Judge, Score, judge_of
from tensorpress.compression.targets.judged import distilled, in_closed_form
from tensorpress.compression.targets.target import NOT_WORTH
from tensorpress.compression.targets.timed import Clocked, timed_layers
from tensorpress.compression.targets.tries import USUAL, Tried, Tries
from tensorpress.errors import TensorpressError
from tensorpress.request.budget import Budget
from tensorpress.surgery import ExampleInputs, MeasuredTime, Quality, Survey


class ByQuality:
    """Layers are measured once; networks of several sizes are made in closed form and judged.

    Args:
        budget: of quality; with a runtime the fastest network is looked for.
        net: the network before, with plain layers in the places to be treated.
        score: where the budget has ``max_drop``.
    """

    left = NOT_WORTH
    tries = USUAL
    time: MeasuredTime | None = None

    def __init__(
        self,
        budget: Budget,
        net: nn.Module,
        example_inputs: ExampleInputs,
        surveyed: Survey,
        score: Score | None,
    ) -> None:
        self.budget, self.net, self.inputs = budget, net, example_inputs
        self.cost, self.score = surveyed.cost, score
        self._judge: Judge | None = None

    def choose(self, tasks: Sequence[LayerTask], metric: NetworkMetric) -> list[Pick]:
        """What is picked at the last step of a grid at which the quality is kept.

        Raises:
            TensorpressError: it is not kept at any, with the best that was.
        """
        assert isinstance(metric, InputMetric)
        judge = self._judge = judge_of(self.budget, self.net, metric.held, self.score)

        def make(picks: list[Pick]) -> Tried:
            model, made = in_closed_form(self.net, metric, picks)
            metric.settle(model)
            return Tried(*ratios(made, self.cost), judge.quality(model))

        grid, clocked = self._grid(tasks, metric)
        picks = Tries(grid, judge, make, progress=metric.progress).search()
        if clocked is not None:
            self.time = clocked.told(self.budget, *clocked.network_seconds(picks))
        return picks

    def finish(self, model: nn.Module, metric: NetworkMetric) -> Quality:
        """Statistics, and distillation but for where the quality is kept without it alone."""
        assert isinstance(metric, InputMetric)
        assert self._judge is not None
        metric.settle(model)
        return distilled(model, metric, self._judge.quality, self._judge.is_met)

    def _grid(self, tasks: Sequence[LayerTask], metric: InputMetric) -> tuple[Grid, Clocked | None]:
        layers = metric.measured(tasks)
        if all(len(layer.picks) == 1 for layer in layers):
            raise TensorpressError(f"{self.budget}: no layer would get smaller.")
        if not self.budget.is_timed:
            return Grid(layers, self.cost, smaller(layers, self.cost)), None
        clocked = timed_layers(
            self.net, self.inputs, layers, budget=self.budget, progress=metric.progress
        )
        return Grid(clocked.layers, self.cost, faster, clocked.seconds), clocked
