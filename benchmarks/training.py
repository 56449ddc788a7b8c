"""How long a training step of ResNet-56 takes, in float32 and in bfloat16.

Run by `make bench-training`. Dense on labels, compressed to PCR 3.95 and FCR 4.2 on labels, and
compressed with the dense network as its teacher; forward, backward and Muon on 128 images, taken
in turns. Only a processor with bfloat16 instructions is faster in it.
"""

import argparse
import copy
import statistics
from collections.abc import Callable

import torch
from torch import nn

import tensorpress as tp
from tensorpress.data import Dataset, ImageSet
from tensorpress.deploy.latency import interleaved_times
from tensorpress.networks import resnet56
from tensorpress.training import Distillation, Place, Teacher, Trainer, label_loss, recipes_for

CPU = Place(torch.device("cpu"))
BATCH, IMAGES_AN_EPOCH = 128, 50_000
SHAPE = (3, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    dense = resnet56()
    budget = tp.Budget(params=3.95, macs=4.2)
    small = tp.compress(dense, torch.zeros(1, *SHAPE), budget=budget).model
    steps = {
        (name, bf16): training_step(net, bf16=bf16, teacher=teacher)
        for name, net, teacher in (
            ("dense", dense, None),
            ("compressed", small, None),
            ("compressed, taught", small, dense),
        )
        for bf16 in (False, True)
    }
    times = interleaved_times(list(steps.values()), asked.rounds)
    medians = dict(zip(steps, map(statistics.median, times), strict=True))
    print(
        f"torch {torch.__version__}, CPU, {asked.threads} threads, batch {BATCH}, channels last; "
        f"medians of {asked.rounds} rounds"
    )
    print(f"{'ResNet-56':<20}{'float32':>10}{'bfloat16':>10}{'ratio':>8}{'epoch in bfloat16':>20}")
    for name in dict.fromkeys(name for name, _ in steps):
        plain, half = medians[name, False], medians[name, True]
        epoch = half * (IMAGES_AN_EPOCH // BATCH)
        print(
            f"{name:<20}{1e3 * plain:>7.0f} ms{1e3 * half:>7.0f} ms{plain / half:>8.2f}"
            f"{epoch:>18.0f} s"
        )


def training_step(net: nn.Module, *, bf16: bool, teacher: nn.Module | None) -> Callable[[], None]:
    """A step of fine-tuning by our recipe on one batch of noise, of a copy of ``net``."""
    images = torch.randint(256, (BATCH, *SHAPE), dtype=torch.uint8)
    noise = ImageSet(images, torch.arange(BATCH) % 10)
    names = tuple("0123456789")
    data = Dataset("noise", noise, noise, names, (0.5,) * 3, (0.25,) * 3, 4, True)
    objective = Teacher(copy.deepcopy(teacher), Distillation(), SHAPE) if teacher else label_loss
    recipe = recipes_for("resnet56").finetune
    trainer = Trainer(
        copy.deepcopy(net),
        data,
        recipe,
        seed=0,
        phase="bench",
        objective=objective,
        place=CPU,
        bf16=bf16,
    )
    trainer.net.train()
    inputs, labels = next(trainer.batches.epoch(seed=0))
    return lambda: trainer.step(inputs, labels, recipe.lr)


if __name__ == "__main__":
    main()
