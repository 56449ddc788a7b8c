"""Batch-norm statistics, taken again from what a compressed network really computes."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from tensorpress.compression.calibration.answers import outputs
from tensorpress.compression.calibration.divergence import divergence
from tensorpress.progress import progress_bar
from tensorpress.rows import Rows, run
from tensorpress.surgery import evaluating

CLEARLY = 2.0
SETTLED_ON = 256
"""Images in a batch of those that statistics are taken from."""


def batch_norms(net: nn.Module) -> list[_BatchNorm]:
    """The batch norms that keep running statistics."""
    return [
        module
        for module in net.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


@torch.no_grad()
def reestimate_batch_norm(net: nn.Module, parts: Iterable[Rows]) -> None:
    """Set every batch norm's running mean and variance to their average over ``parts``.

    An average over the batches, not a moving one: the order of the batches does not matter. All
    layers are done in one pass, each fed with batches that those before it have normalised by
    their own statistics. Everything else stays in eval mode.
    """
    norms = batch_norms(net)
    momenta = [norm.momentum for norm in norms]
    with evaluating(net):
        try:
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = None
                norm.train()
            for part in parts:
                run(net, part)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


def settle_batch_norm(
    net: nn.Module,
    original: nn.Module,
    parts: Sequence[Rows],
    *,
    progress: bool | None = None,
) -> None:
    """Take the statistics again, unless that takes the answers clearly further from the original's.

    So it does where the original's own are not those of the images: a network that was trained
    for a moment only, or images of another kind than it was trained on. The first of ``parts`` is
    enough to tell. A network without batch norms is not run.
    """
    buffers = [buffer for norm in batch_norms(net) for buffer in norm.buffers()]
    if not buffers:
        return
    kept = [buffer.clone() for buffer in buffers]
    with progress_bar(show=progress) as bar:
        task = bar.add_task("batch-norm statistics", total=3 + len(parts))

        def shown(some: Sequence[Rows]) -> Iterator[Rows]:
            for part in some:
                yield part
                bar.advance(task)

        wanted = outputs(original, shown(parts[:1]))
        before = divergence(outputs(net, shown(parts[:1])), wanted)
        reestimate_batch_norm(net, shown(parts))
        after = divergence(outputs(net, shown(parts[:1])), wanted)
    if after > CLEARLY * before:
        for buffer, value in zip(buffers, kept, strict=True):
            buffer.copy_(value)


@contextmanager
def batch_statistics(net: nn.Module) -> Iterator[None]:
    """Eval mode, but for batch norms, which use the batch's statistics and keep their own."""
    norms = batch_norms(net)
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    with evaluating(net):
        try:
            for norm in norms:
                norm.momentum = 0.0
                norm.num_batches_tracked = None
                norm.train()
            yield
        finally:
            for norm, (momentum, tracked) in zip(norms, kept, strict=True):
                norm.momentum, norm.num_batches_tracked = momentum, tracked
