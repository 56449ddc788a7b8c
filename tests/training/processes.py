"""Run by several processes: training with frozen statistics, then a whole run in a folder.

Prints, as JSON, how many processes there are, the loss of every epoch and the right answers.
"""

import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tiny import tiny_data, tiny_net, tiny_run

from tensorpress.training import Place, Recipe, Settings, evaluate, find_place, fit, loop
from tensorpress.training.run_folder import RunFolder


def frozen_training(place: Place, batch_size: int) -> tuple[list[float], int]:
    """The loss of each epoch, and the right answers at the end."""
    torch.manual_seed(0)
    net = tiny_net()
    net[5].p = 0.0
    recipe = Recipe(4, lr=0.05, batch_size=batch_size)
    losses = [r.loss for r in fit(net, tiny_data(), recipe, place=place, freeze_bn=True)]
    return losses, evaluate(net, tiny_data(), place=place).correct


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = find_place("cpu")
    losses, correct = frozen_training(place, 32 // place.world)
    if place.is_main:
        print(json.dumps({"processes": place.world, "losses": losses, "correct": correct}))
    # They save together within epochs too, and go on from there.
    loop.STEPS_BETWEEN_ASKING = 1
    folder, settings = Path(sys.argv[1]), Settings(seed=3, device="cpu", quiet=True)
    stopped = dataclasses.replace(settings, checkpoint_minutes=1e-9)
    record = RunFolder.record

    def stopping(run: RunFolder, state: dict[str, Any]) -> None:
        record(run, state)
        raise KeyboardInterrupt

    with (
        mock.patch.object(RunFolder, "record", stopping),
        contextlib.suppress(KeyboardInterrupt),
    ):
        tiny_run(folder, settings=stopped)
    tiny_run(folder, settings=settings)
