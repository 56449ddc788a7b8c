"""Layer by layer towards the original's answers, each fed by those already compressed."""

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tensorpress.compression.calibration.constants import followed_by_batch_norm
from tensorpress.compression.calibration.moments import are_kept, samplers
from tensorpress.compression.calibration.patches import Sampler
from tensorpress.compression.calibration.replay import Replay, replayable
from tensorpress.compression.calibration.statistics import batch_statistics
from tensorpress.compression.calibration.watching import fed, run_watched
from tensorpress.decompose import Ranks
from tensorpress.decompose.second_moments import (
    SampledMoments,
    SecondMoments,
    WholeMoments,
    products,
)
from tensorpress.layers import Fit, Layer, Metric, Treatment, on_processor, shifted_kernels
from tensorpress.progress import track
from tensorpress.rows import Rows
from tensorpress.surgery import replace_layers

RIDGE = 1e-2
"""Share of the mean eigenvalue by which a fitted kernel is held to the original one."""
HELD = 2 * 2**30
"""Bytes of maps that are kept from layer to layer; batches beyond them start at the input."""


def reconstruct(
    net: nn.Module,
    asked: Mapping[str, tuple[Layer, Treatment, tuple[int, ...]]],
    parts: Sequence[Rows],
    *,
    sweeps: int = 2,
    seed: int = 0,
    progress: bool | None = None,
) -> dict[str, Fit]:
    """Replace layers one after the other, each making up for the errors of those before it.

    The asymmetric reconstruction of Zhang et al. (2016, arXiv 1505.06798) in closed form: of the
    kernels that map the compressed network's own input patches to the original's outputs, the least
    squares one is treated, under the metric of those patches if the treatment knows how. Batch
    norms use the statistics of the batch meanwhile, as their running ones go stale with every
    layer.

    Args:
        net: the original; it is not changed.
        asked: the layers to treat, in order of execution: each one as it stands in ``net``, its
            treatment, and the ranks.
        parts: batches of calibration images.
        sweeps: of alternating least squares for each layer, where its treatment has any.

    Returns:
        for each layer its replacement, with a new bias where it has one.
    """
    layers = {name: layer for name, (layer, _, _) in asked.items()}
    samples = samplers(net, layers, parts, seed)
    wanted = _original_outputs(net, samples, parts)
    centred = followed_by_batch_norm(net, layers, parts[0][:2])
    student = copy.deepcopy(net)
    found: dict[str, Fit] = {}
    with batch_statistics(student):
        replays = _replays(student, list(layers), parts)
        for name, (layer, treatment, ranks) in track(
            list(asked.items()), "reconstructing", show=progress
        ):
            outputs = wanted.pop(name)
            take, calls = samples[name].patches, len(outputs) // len(parts)  # in one forward pass
            patches = [
                taken
                for replay, part in zip(replays, parts, strict=True)
                for taken in replay.fed(name, partial(take, images=len(part)), calls)
            ]
            fit = _fit_layer(
                layer,
                treatment,
                patches,
                outputs,
                Ranks(*ranks),
                sweeps,
                centred=name in centred,
            )
            replace_layers(student, {name: fit.to_module(layer).eval()})
            found[name] = fit
    return found


def _fit_layer(
    layer: Layer,
    treatment: Treatment,
    taken: list[Tensor],
    wanted: list[Tensor],
    ranks: Ranks,
    sweeps: int,
    *,
    centred: bool,
) -> Fit:
    patches = torch.cat(taken, dim=1).float()
    outputs = torch.cat(wanted, dim=1).float()
    if layer.bias is not None:
        outputs = outputs - layer.bias.detach().float().reshape(len(outputs), 1, -1)
    centred = centred or layer.bias is not None
    means = (patches.mean(1, keepdim=True), outputs.mean(1, keepdim=True))
    if centred:
        patches, outputs = patches - means[0], outputs - means[1]
    kernels = shifted_kernels(layer).cpu().double()
    of_groups = zip(patches, outputs, kernels, strict=True)
    moments, fitted = zip(*(_least_squares(*group) for group in of_groups), strict=True)
    metric = Metric(moments, torch.stack(fitted), sweeps)
    fit = treatment.prepare(on_processor(layer), metric)(ranks)
    if layer.bias is None:
        return fit
    inside, outside = (mean.cpu().double() for mean in means)
    shift = outside - inside @ fit.kernels(layer)
    return fit.with_bias(layer.bias.detach() + shift.reshape(-1).to(layer.bias))


def _least_squares(x: Tensor, y: Tensor, kernel: Tensor) -> tuple[SecondMoments, Tensor]:
    """The moments of patches x (N, P), and the kernel (P, T) that takes them to y, held to the one
    that there is: ``argmin E ||y - B^T x||^2 + ridge ||B - W||^2``. Both are on the processor.
    """
    count, size = x.shape
    if are_kept(count, size):  # by the patches' own products, of which there are fewer
        x, y = x.cpu(), y.cpu()
        moments: SecondMoments = SampledMoments(x)
        ridge = RIDGE * max(moments.mean(), 1e-12)
        normal = (x @ x.T).double()
        normal.diagonal().add_(count * ridge)
        missed = (y - x @ kernel.float()).double()
        return moments, kernel + (x.T @ torch.linalg.solve(normal, missed).float()).double()
    product = products(x).cpu().double() / count
    ridge = RIDGE * max(float(product.diagonal().mean()), 1e-12)
    normal = product.clone()
    normal.diagonal().add_(ridge)
    cross = (x.T @ y).cpu().double() / count
    return WholeMoments(product), torch.linalg.solve(normal, cross + ridge * kernel)


def _replays(student: nn.Module, names: Sequence[str], parts: Sequence[Rows]) -> list[Replay]:
    """The batches on their way through the student."""
    outline = replayable(student, names, parts[0][:2])
    replays = []
    held = 0.0
    for part in parts:
        held += len(part) * outline.live_bytes if outline else 0.0
        replays.append(Replay(student, names, part, outline if held <= HELD else None))
    return replays


def _original_outputs(
    net: nn.Module, samples: Mapping[str, Sampler], parts: Sequence[Rows]
) -> dict[str, list[Tensor]]:
    """What each layer gives at the places of its sampler, batch by batch and call by call."""
    taken: dict[str, list[Tensor]] = {name: [] for name in samples}

    def watch(name: str, sampler: Sampler, images: int) -> RemovableHandle:
        def leave(_: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor) -> None:
            taken[name].append(sampler.outputs(output, fed(args, kwargs), images).clone())

        return net.get_submodule(name).register_forward_hook(leave, with_kwargs=True)

    for part in parts:
        handles = [watch(name, sampler, len(part)) for name, sampler in samples.items()]
        run_watched(net, part, handles)
    return taken
