"""How long augmenting takes: 50,000 CIFAR-shaped images, and its share of a training step.

Run by `make bench-data`. Augmenting is crop with padding 4, flip and normalisation, in batches of
128 on one thread; the step is ResNet-56's forward, backward and SGD on one such batch, on all
threads. Goals: under 2 s for the 50,000 images, under 5 % of the step.
"""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

from tensorpress.data import augment, normalise
from tensorpress.networks import resnet56

IMAGES, BATCH = 50_000, 128
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PASSES, STEPS = 5, 7


def main() -> None:
    threads = torch.get_num_threads()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (IMAGES, 3, 32, 32), dtype=torch.uint8, generator=generator)

    def augment_all() -> None:
        for batch in images.split(BATCH):
            normalise(augment(batch, padding=4, flip=True, generator=generator), MEAN, STD)

    torch.set_num_threads(1)
    whole = median_seconds(augment_all, PASSES)
    torch.set_num_threads(threads)
    step = median_seconds(training_step(images[:BATCH]), STEPS)

    batch = whole * BATCH / IMAGES
    print(f"torch {torch.__version__}, CPU; medians of {PASSES} passes and {STEPS} steps")
    print(f"augment {IMAGES:,} images, 1 thread     {whole:8.3f} s    goal < 2 s")
    print(f"augment a batch of {BATCH}, 1 thread     {1000 * batch:8.2f} ms")
    print(f"ResNet-56 training step, {threads} threads  {1000 * step:8.1f} ms")
    print(f"share of the step                  {100 * batch / step:8.2f} %    goal < 5 %")


def training_step(images: torch.Tensor) -> Callable[[], None]:
    net = resnet56()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    inputs = normalise(images, MEAN, STD)
    labels = torch.arange(len(images)) % 10

    def step() -> None:
        optimiser.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()
        optimiser.step()

    return step


def median_seconds(run: Callable[[], None], times: int) -> float:
    run()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
