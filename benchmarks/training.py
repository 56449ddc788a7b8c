"""How long a training step of ResNet-56 takes, in float32 and in bfloat16.

Run by `make bench-training`. Dense on labels, compressed to PCR 3.95 and FCR 4.2 on labels, and
compressed with the dense network as its teacher; forward, backward and Muon on a batch, taken
in turns. Only a processor with bfloat16 instructions is faster in it. On a GPU the steps are
recorded as CUDA graphs, plain or compiled: `make bench-training ARGS="--device cuda --compile"`.
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
from tensorpress.deploy.runtimes.processor import computes_in_bf16
from tensorpress.networks import resnet56
from tensorpress.training import (
    Distillation,
    Place,
    Teacher,
    Trainer,
    find_place,
    label_loss,
    recipes_for,
)
from tensorpress.training.distil import Objective

IMAGES_AN_EPOCH = 50_000
SHAPE = (3, 32, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(0)
    dense = resnet56()
    budget = tp.Budget(params=3.95, macs=4.2)
    small = tp.compress(dense, torch.zeros(1, *SHAPE), budget=budget).model
    place = find_place(asked.device)
    on_gpu = place.device.type == "cuda"
    precisions = (False, True) if on_gpu or computes_in_bf16() else (False,)
    if len(precisions) == 1:
        print("this processor has no instructions for bfloat16: float32 alone")
    steps = {
        (name, bf16): training_step(
            net, asked.batch, place, bf16=bf16, teacher=teacher, compiled=asked.compile
        )
        for name, net, teacher in (
            ("dense", dense, None),
            ("compressed", small, None),
            ("compressed, taught", small, dense),
        )
        for bf16 in precisions
    }
    times = interleaved_times(list(steps.values()), asked.rounds)
    medians = dict(zip(steps, map(statistics.median, times), strict=True))
    where = torch.cuda.get_device_name(place.device) if on_gpu else f"CPU, {asked.threads} threads"
    print(
        f"torch {torch.__version__}, {where}, batch {asked.batch}, channels last, "
        f"{'compiled' if asked.compile else 'not compiled'}; medians of {asked.rounds} rounds"
    )
    for (name, bf16), seconds in medians.items():
        print(
            f"{name:<20}{'bfloat16' if bf16 else 'float32':<10}{1e3 * seconds:>8.1f} ms a step"
            f"{seconds * (IMAGES_AN_EPOCH // asked.batch):>8.1f} s an epoch"
            f"{medians[name, False] / seconds:>8.2f} times as fast as in float32"
        )


def training_step(
    net: nn.Module,
    batch: int,
    place: Place,
    *,
    bf16: bool,
    teacher: nn.Module | None,
    compiled: bool,
) -> Callable[[], None]:
    """A step of fine-tuning by our recipe on one batch of noise, of a copy of ``net``."""
    images = torch.randint(256, (batch, *SHAPE), dtype=torch.uint8)
    noise = ImageSet(images, torch.arange(batch) % 10)
    names = tuple("0123456789")
    data = Dataset("noise", noise, noise, names, (0.5,) * 3, (0.25,) * 3, 4, True)
    objective: Objective = label_loss
    if teacher:
        objective = Teacher(teacher, Distillation(), SHAPE, place.device)
    recipe = recipes_for("resnet56").finetune.changed(batch_size=batch)
    trainer = Trainer(
        copy.deepcopy(net),
        data,
        recipe,
        seed=0,
        phase="bench",
        objective=objective,
        place=place,
        bf16=bf16,
        compiled=compiled,
    )
    trainer.net.train()
    inputs, labels = next(trainer.batches.epoch(seed=0))
    if compiled or place.device.type == "cuda":
        trainer.step.record(inputs, labels, compiled=compiled)

    def step() -> None:
        trainer.step(inputs, labels, recipe.lr)
        if place.device.type == "cuda":
            torch.cuda.synchronize()

    return step


if __name__ == "__main__":
    main()
