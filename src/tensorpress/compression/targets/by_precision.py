"""A budget that int8 may meet, too: layers and precision are chosen together."""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import nn

from tensorpress.choices import AUTO, INT8
from tensorpress.compression.bisection import largest_step
from tensorpress.compression.metrics.input_metric import InputMetric
from tensorpress.compression.metrics.metric import NetworkMetric
from tensorpress.compression.options.task import LayerTask, Pick
from tensorpress.compression.targets.grid import Grid, faster
from tensorpress.compression.targets.judge import ByOutputs, Judge, Score, judge_of
from tensorpress.compression.targets.judged import distilled
from tensorpress.compression.targets.precision_trials import Candidate, Trials
from tensorpress.compression.targets.target import NOT_NEEDED, NOT_WORTH
from tensorpress.compression.targets.timed import Clocked, clock_for, spread_in_time, timed_layers
from tensorpress.compression.targets.tries import USUAL, Tried, Tries
from tensorpress.errors import TensorpressError
from tensorpress.progress import announce
from tensorpress.request.budget import RUNTIME, Budget
from tensorpress.surgery import ExampleInputs, Precision, Quality, Survey

GUESSED = 3
"""Sizes in int8 that are guessed; what is left is then halved each time."""
NEXT_TO_NOTHING = 0.05
"""The output error up to which int8 alone, where it is fast enough, is taken unrivalled: to measure
forms takes minutes, and nothing is left that they could save."""
UNMEASURED = "forms of layers, which were not measured: int8 alone is fast enough"
SLACK = 1.05
"""By how much a network has to be faster than was asked for, for layers to go back to float32."""


class ByPrecision:
    """What is executed in int8 is measured as a matter of the whole network, in its runtime.

    Three kinds of networks are compared: forms in the runtime's own precision; all layers in int8,
    decomposed no further than the budget needs; and some layers of that left in float32, the most
    sensitive ones first, as far as the time allows or the quality asks. For a time the one of them
    is taken that loses least of the outputs for images held back, for a quality the fastest. Where
    int8 alone meets the time and loses next to nothing, nothing else is measured.
    """

    left = NOT_WORTH
    tries = 2 * USUAL
    time = None

    def __init__(
        self,
        budget: Budget,
        net: nn.Module,
        example_inputs: ExampleInputs,
        surveyed: Survey,
        score: Score | None,
    ) -> None:
        assert budget.precisions is not None
        self.budget, self.net, self.inputs = budget, net, example_inputs
        self.cost, self.score = surveyed.cost, score
        self.precision: Precision | None = None
        self._tells = budget.precisions

    def choose(self, tasks: Sequence[LayerTask], metric: NetworkMetric) -> list[Pick]:
        """What is done with the layers of the network that is taken.

        Raises:
            TensorpressError: no network meets the budget.
        """
        assert isinstance(metric, InputMetric)
        judge = self._judge(metric)
        if not self.budget.of_quality:
            alone = self._alone_in_time(judge, metric)
            if alone is not None:
                self._taken, self._rivals, self.left = alone, [UNMEASURED], NOT_NEEDED
                return []
        layers = metric.measured(tasks)
        clocked = timed_layers(
            self.net, self.inputs, layers, budget=self.budget, progress=metric.progress
        )
        self._grid = Grid(clocked.layers, self.cost, faster, clocked.seconds)
        self._trials = self._trials_of(clocked, judge, metric)
        found = self._keeping() if self.budget.of_quality else self._in_time()
        if self.budget.of_quality:
            self._taken = max(found, key=lambda one: one.speedup)
        else:
            self._taken = min(found, key=lambda one: (judge.lost(one.quality.value), one.seconds))
            if not self._taken.picks:
                self.left = NOT_NEEDED
        self._rivals = [str(one) for one in found if one is not self._taken]
        return self._taken.picks

    def finish(self, model: nn.Module, metric: NetworkMetric) -> Quality:
        """Statistics and distillation, and the precision as it is then.

        A quality is kept in int8: where the distillation alone takes it below what was asked for it
        is undone, and more layers stay in float32 where that is not enough.
        """
        assert isinstance(metric, InputMetric)
        taken = self._taken
        if taken.picks:
            metric.settle(model)
            quality = distilled(model, metric, self._judged, self._is_met)
        else:
            quality = self._judged(model)
        name, in_float = taken.precision, taken.in_float
        if name == INT8 and not self._is_met(quality):
            name, in_float, quality = self._with_more_in_float(model)
        self._tell(name, in_float)
        return quality

    def _judge(self, metric: InputMetric) -> Judge:
        if self.budget.of_quality:
            return judge_of(self.budget, self.net, metric.held, self.score)
        assert metric.held is not None
        return ByOutputs(math.inf, self.net, metric.held)

    def _trials_of(self, clocked: Clocked, judge: Judge, metric: InputMetric) -> Trials:
        runtime = self.budget.runtime or RUNTIME
        return Trials(self.net, self.inputs, self.cost, clocked, runtime, judge, metric)

    def _alone_in_time(self, judge: Judge, metric: InputMetric) -> Candidate | None:
        """int8 with nothing decomposed, where that is all that is needed."""
        clock = clock_for(self.net, self.inputs, self.budget)
        _, seconds = clock.network_seconds({})
        self._trials = self._trials_of(Clocked([], seconds, clock), judge, metric)
        wanted = self.budget.for_seconds(seconds).speedup
        assert wanted is not None
        if _speedup(self._trials.seconds([], INT8)) < wanted:
            return None
        found = self._trials.candidate([], INT8)
        return found if judge.lost(found.quality.value) <= NEXT_TO_NOTHING else None

    def _in_time(self) -> list[Candidate]:
        """Of each kind the one that loses least in the time.

        Raises:
            TensorpressError: there is none.
        """
        trials, found = self._trials, list[Candidate]()
        wanted = self.budget.for_seconds(trials.clocked.seconds).speedup
        assert wanted is not None
        refused: TensorpressError | None = None
        if AUTO in self._tells:
            try:
                picks, _ = spread_in_time(
                    trials.clocked,
                    cost=self.cost,
                    budget=self.budget,
                    progress=trials.metric.progress,
                )
                found.append(trials.candidate(picks, AUTO))
            except TensorpressError as error:
                refused = error
        step, reached = self._largest_in_time(wanted)
        if step is None:
            if not found:
                raise refused or TensorpressError(
                    f"{self.budget} cannot be reached in int8 in {trials.runtime}: the fastest "
                    f"network was {reached:.2f} times as fast as the dense one. Ask for less."
                )
            return found
        picks = self._grid.picks(step) or []
        found.append(trials.candidate(picks, INT8))
        if reached > SLACK * wanted:
            layers = trials.sensitive(picks)

            def in_time(count: int) -> bool:
                return _speedup(trials.seconds(picks, INT8, layers[:count])) >= wanted

            count = largest_step(lambda n: n == 0 or in_time(n), len(layers)) or 0
            if count:
                found.append(trials.candidate(picks, INT8, layers[:count]))
        return found

    def _largest_in_time(self, wanted: float) -> tuple[int | None, float]:
        """The first step of the grid at which the network in int8 is fast enough, and its speedup.

        None where there is none, with the best speedup.
        """
        speeds: dict[int, float] = {}
        last = self._grid.steps - 1

        def meets(step: int) -> bool:
            speeds[step] = _speedup(self._trials.seconds(self._grid.picks(step) or [], INT8))
            announce(
                f"int8 at step {step} of {last}: {speeds[step]:.2f}x",
                show=self._trials.metric.progress,
            )
            return speeds[step] >= wanted

        if meets(0):
            return 0, speeds[0]
        if not last or not meets(last):
            return None, max(speeds.values())

        def guess(low: int, high: int) -> int:
            # Steps count from the fastest network here.
            slow, fast = last - high, last - low
            middle = (low + high) // 2
            if len(speeds) >= GUESSED + 2 or slow not in speeds:
                return middle
            share = math.log(wanted / speeds[slow]) / math.log(speeds[fast] / speeds[slow])
            return min(max(last - (slow + math.ceil(share * (fast - slow))), low + 1), high - 1)

        # At `last` from the end, the dense network, it is not met, which was measured.
        ahead = largest_step(lambda n: n == 0 or meets(last - n), last, guess)
        assert ahead is not None
        return last - ahead, speeds[last - ahead]

    def _keeping(self) -> list[Candidate]:
        """Of each kind the smallest that keeps the quality, and the network as it is.

        Raises:
            TensorpressError: there is none.
        """
        trials, found = self._trials, list[Candidate]()
        judge = trials.judge
        small: list[Pick] = []
        if AUTO in self._tells:
            found.append(self._as_it_is())
            try:
                small = self._search(trials.tried)
                found.append(trials.candidate(small, AUTO))
            except TensorpressError as error:
                announce(str(error), show=trials.metric.progress)
        dense = trials.tried_in_int8([]).quality
        announce(f"int8, nothing decomposed: {dense}", show=trials.metric.progress)
        picks: list[Pick] = []
        if judge.is_met(dense):
            try:
                picks = self._search(trials.tried_in_int8)
            except TensorpressError:
                picks = []
            found.append(trials.candidate(picks, INT8))
        mixed: list[list[Pick]] = [] if judge.is_met(dense) else [[]]
        mixed += [small] if self._spared(small) > self._spared(picks) else []
        for some in mixed:
            layers = trials.sensitive(some)
            count = self._fewest(layers, partial(self._in_int8_but, some))
            if count < len(layers):
                found.append(trials.candidate(some, INT8, layers[:count]))
        if not found:
            raise TensorpressError(
                f"{self.budget} is not kept in int8 even with one layer in it: the network as it "
                f"is gives {dense}. Ask for less, or for '{AUTO}' besides."
            )
        return found

    def _as_it_is(self) -> Candidate:
        """The network before, which nothing that is slower is taken instead of."""
        seconds = self._trials.clocked.seconds
        quality = self._trials.judge.quality(self.net)
        return Candidate([], AUTO, (), seconds, seconds, quality)

    def _spared(self, picks: Sequence[Pick]) -> float:
        """The seconds that the layers are said to take less, in the runtime's own precision."""
        spared = 0.0
        for layer in self._trials.clocked.layers:
            for pick, option in zip(layer.picks, layer.options, strict=True):
                if pick is not None and any(pick is one for one in picks):
                    spared += layer.options[0].seconds - option.seconds
        return spared

    def _search(self, make: Callable[[list[Pick]], Tried]) -> list[Pick]:
        trials = self._trials
        return Tries(self._grid, trials.judge, make, progress=trials.metric.progress).search()

    def _in_int8_but(self, picks: Sequence[Pick], in_float: Sequence[str]) -> Quality:
        return self._trials.tried_in_int8(picks, in_float).quality

    def _fewest(self, layers: Sequence[str], quality: Callable[[list[str]], Quality]) -> int:
        """How many layers, the first first, have to stay in float32 for the quality to be kept."""
        judge = self._trials.judge

        def kept(in_int8: int) -> bool:
            return judge.is_met(quality(list(layers[: len(layers) - in_int8])))

        return len(layers) - (largest_step(lambda n: n == 0 or kept(n), len(layers) + 1) or 0)

    def _judged(self, model: nn.Module) -> Quality:
        """Of a network as it is executed in the precision that was taken."""
        taken = self._taken
        if taken.precision == INT8:
            model = self._trials.quantised(model, taken.picks).executed(taken.in_float, finely=True)
        return self._trials.judge.quality(model)

    def _with_more_in_float(self, model: nn.Module) -> tuple[str, tuple[str, ...], Quality]:
        judge, final = self._trials.judge, self._trials.quantised(model, self._taken.picks)
        order = self._trials.sensitive(self._taken.picks)
        layers = [*self._taken.in_float, *(n for n in order if n not in self._taken.in_float)]
        count = self._fewest(layers, lambda left: judge.quality(final.executed(left, finely=True)))
        if count == len(layers):
            return AUTO, (), judge.quality(model)
        left = tuple(layers[:count])
        return INT8, left, judge.quality(final.executed(left, finely=True))

    def _is_met(self, quality: Quality) -> bool:
        return self._trials.judge.is_met(quality)

    def _tell(self, name: str, in_float: tuple[str, ...]) -> None:
        trials, taken = self._trials, self._taken
        seconds, before = taken.seconds, taken.before
        if (name, in_float) != (taken.precision, taken.in_float):
            seconds, before = trials.seconds(taken.picks, name, in_float)
        held = trials.in_int8(taken.picks, in_float) if name == INT8 else (0, 0)
        self.precision = Precision(
            name=name,
            runtime=trials.runtime,
            threads=trials.clocked.clock.threads,
            batch=trials.clocked.clock.batch,
            milliseconds=1e3 * seconds,
            before=1e3 * before,
            in_int8=held[0],
            layers=held[1],
            in_float=in_float,
            rivals=tuple(self._rivals),
        )


def _speedup(seconds: tuple[float, float]) -> float:
    small, whole = seconds
    return whole / small
