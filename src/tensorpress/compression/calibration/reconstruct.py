"""Layer by layer towards the original's answers, each fed by those already compressed."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tensorpress.compression.calibration.choosing import after_choices
from tensorpress.compression.calibration.constants import followed_by_batch_norm
from tensorpress.compression.calibration.moments import are_kept, refuse_unreached, samplers
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
from tensorpress.layers.kinds import out_channels
from tensorpress.progress import track
from tensorpress.rows import Rows
from tensorpress.surgery import replace_layers

RIDGE = 1e-2
"""Share of the mean eigenvalue by which a fitted kernel is held to the original one."""
HELD = 2 * 2**30
"""Bytes of maps that are kept from layer to layer, beyond which batches start at the input; and of
the original's outputs, beyond which it is run again."""


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
    layer. Layers whose rows are chosen by their values (:func:`after_choices`) are held to their
    own answers.

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
    ahead = _windows(samples)
    wanted: dict[str, list[list[Tensor]]] = {}
    centred = followed_by_batch_norm(net, layers, parts[0][:2])
    chosen = after_choices(net, layers, parts[0][:2])
    student = copy.deepcopy(net)
    found: dict[str, Fit] = {}
    with batch_statistics(student):
        replays = _replays(student, list(layers), parts)
        for name, (layer, treatment, ranks) in track(
            list(asked.items()), "reconstructing", show=progress
        ):
            if not wanted:
                wanted = _original_outputs(net, {one: samples[one] for one in next(ahead)}, parts)
            outputs = wanted.pop(name)
            patches = [
                taken
                for replay, of_part in zip(replays, outputs, strict=True)
                if of_part
                for taken in replay.fed(name, samples[name].patches, len(of_part))
            ]
            refuse_unreached([] if sum(taken.shape[1] for taken in patches) else [name])
            pairs = [_joined(patches), _joined([taken for of_part in outputs for taken in of_part])]
            del patches, outputs
            fit = _fit_layer(
                layer,
                treatment,
                pairs,
                Ranks(*ranks),
                sweeps,
                centred=name in centred,
                chosen=name in chosen,
            )
            replace_layers(student, {name: fit.to_module(layer).eval()})
            found[name] = fit
    return found


def _fit_layer(
    layer: Layer,
    treatment: Treatment,
    pairs: list[Tensor],
    ranks: Ranks,
    sweeps: int,
    *,
    centred: bool,
    chosen: bool,
) -> Fit:
    """
    Args:
        pairs: patches and what is wanted for them, which are worked on in place and let go.
        chosen: the two are of other rows, so that the layer's own answers are wanted.
    """
    patches, outputs = pairs
    pairs.clear()
    if layer.bias is not None:
        outputs -= layer.bias.detach().float().reshape(len(outputs), 1, -1)
    kernels = shifted_kernels(layer).to(patches)
    if chosen or patches.shape[1] != outputs.shape[1]:
        outputs = patches @ kernels
    centred = centred or layer.bias is not None
    means = (patches.mean(1, keepdim=True), outputs.mean(1, keepdim=True))
    if centred:
        patches -= means[0]
        outputs -= means[1]
    of_groups = zip(patches, outputs, kernels.cpu().double(), strict=True)
    moments, fitted = zip(*(_least_squares(*group) for group in of_groups), strict=True)
    metric = Metric(moments, torch.stack(fitted), sweeps)
    fit = treatment.prepare(on_processor(layer), metric)(ranks)
    if layer.bias is None:
        return fit
    inside, outside = (mean.cpu().double() for mean in means)
    shift = outside - inside @ fit.kernels(layer)
    return fit.with_bias(layer.bias.detach() + shift.reshape(-1).to(layer.bias))


def _joined(taken: list[Tensor]) -> Tensor:
    return torch.cat(taken, dim=1).float()


def _windows(samples: Mapping[str, Sampler]) -> Iterator[list[str]]:
    """Layers in order, so many at a time that what they give takes no more than :data:`HELD`."""
    window: list[str] = []
    held = 0
    for name, sampler in samples.items():
        taken = 4 * sampler.wanted * out_channels(sampler.layer)
        if window and held + taken > HELD:
            yield window
            window, held = [], 0
        window.append(name)
        held += taken
    yield window


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
) -> dict[str, list[list[Tensor]]]:
    """What each layer gives at the places of its sampler, of each batch call by call."""
    taken: dict[str, list[list[Tensor]]] = {name: [] for name in samples}

    def watch(name: str, sampler: Sampler) -> RemovableHandle:
        taken[name].append([])

        def leave(_: nn.Module, args: Any, kwargs: dict[str, Any], output: Tensor) -> None:
            taken[name][-1].append(sampler.outputs(output, fed(args, kwargs)).clone())

        return net.get_submodule(name).register_forward_hook(leave, with_kwargs=True)

    for part in parts:
        run_watched(net, part, [watch(name, sampler) for name, sampler in samples.items()])
    return taken
