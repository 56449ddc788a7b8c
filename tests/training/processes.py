"""Run by several processes: training with frozen statistics, then a whole run in a folder.

Prints, as JSON, how many processes there are, the loss of every epoch and the right answers.
"""

import json
import sys
from pathlib import Path

import torch
from tiny import tiny_data, tiny_net, tiny_run

from tensorpress.training import Place, Recipe, evaluate, find_place, fit


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
    losses, correct = frozen_training(place, 16)
    if place.is_main:
        print(json.dumps({"world": place.world, "losses": losses, "correct": correct}))
    tiny_run(Path(sys.argv[1]))
