"""What it does to the network's answers to replace one layer alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tensorpress.compression.calibration.divergence import RunningDivergence
from tensorpress.compression.calibration.replay import Replay, replayable
from tensorpress.compression.calibration.statistics import batch_statistics
from tensorpress.layers import Fit, Layer
from tensorpress.progress import progress_bar
from tensorpress.rows import Rows

LEAST = 1e-12
MEASURED = 4
"""Options of each layer that are tried; between them the loss is read off their errors."""


@dataclass(frozen=True)
class Trial:
    """The options of a layer, of which a few are tried; only these are held.

    Attributes:
        errors: the squared relative error of each option, :data:`LEAST` at least.
        tried: fits by the number of the option, errors ascending.
    """

    layer: Layer
    errors: tuple[float, ...]
    tried: dict[int, Fit]

    @classmethod
    def of(
        cls,
        layer: Layer,
        errors: Sequence[float],
        fit: Callable[[int], Fit],
        among: Sequence[int] | None = None,
    ) -> "Trial":
        """Those whose errors are nearest to evenly spread ones, on a logarithmic scale.

        Args:
            errors: the squared relative error of each option, in any order, of any treatments.
            fit: gives the fit of the option of a number.
            among: the numbers of the options to take them from; all by default.
        """
        bounded = [max(error, LEAST) for error in errors]
        numbers = list(range(len(errors)) if among is None else among)
        logs = np.log([bounded[number] for number in numbers])
        aims = list(np.linspace(logs.min(), logs.max(), MEASURED)) if numbers else []
        nearest = {numbers[int(np.abs(logs - aim).argmin())] for aim in aims}
        tried = sorted(nearest, key=lambda number: bounded[number])
        return cls(layer, tuple(bounded), {number: fit(number) for number in tried})

    def losses(self, measured: Mapping[int, float]) -> list[float]:
        """Of all options, from the divergences of those that were tried.

        The logarithm of the divergence is taken as piecewise linear in that of the squared output
        error, which it follows while both are small, whichever way the error came about.
        """
        if not self.tried:
            return []
        found = [max(measured[index], 1e-9) for index in self.tried]
        at = np.log([self.errors[index] for index in self.tried])
        logs = np.interp(np.log(self.errors), at, np.log(np.maximum.accumulate(found)))
        return [float(loss) for loss in np.exp(logs)]


@torch.no_grad()
def layer_losses(
    net: nn.Module,
    trials: Mapping[str, Trial],
    parts: Sequence[Rows],
    *,
    progress: bool | None = None,
) -> dict[str, list[float]]:
    """Divergence from the original's answers with one layer alone replaced, for all its options.

    Batch norms use the statistics of each batch. Every try begins at its layer: batch by batch the
    original is taken from layer to layer, so that no more is kept than what it needs to go on.

    Args:
        net: the network; it stays as it is.
        trials: of its layers, by name.
        parts: batches of calibration images.

    Returns:
        for each layer the losses of its options, in their order.
    """
    names = [name for name, trial in trials.items() if trial.tried]
    divergences = RunningDivergence()
    with batch_statistics(net), progress_bar(show=progress) as bar:
        outline = replayable(net, names, parts[0][:2])
        order = names if outline is None else outline.order
        task = bar.add_task("measuring layers", total=len(parts) * len(order))
        for part in parts:
            replay = Replay(net, names, part, outline)
            divergences.next_batch(replay.answer())
            for name in order:
                replay.go_to(name)
                trial = trials[name]
                for index, fit in trial.tried.items():
                    module = fit.to_module(trial.layer).eval()
                    divergences.add((name, index), replay.answer({name: module}))
                bar.advance(task)
    return {
        name: trial.losses({index: divergences.of((name, index)) for index in trial.tried})
        for name, trial in trials.items()
    }
