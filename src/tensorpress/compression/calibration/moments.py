"""Second moments of the patches that layers are fed, and of what they answer."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from tensorpress.compression.calibration.patches import Sampler
from tensorpress.compression.calibration.watching import fed, run_watched
from tensorpress.decompose.second_moments import (
    SampledMoments,
    SecondMoments,
    WholeMoments,
    products,
)
from tensorpress.errors import TensorpressError
from tensorpress.layers.kinds import Layer, groups_of, patch_size
from tensorpress.progress import track
from tensorpress.rows import Rows

SAMPLES = (16_384, 49_152)
"""Patches of each layer: at least and at most so many in all."""

EACH = 6
"""Patches for each unknown of a layer, between them; :data:`TO_COMPARE` of them where options are
only compared."""

TO_COMPARE = 3

WHOLE_UP_TO = 8_192
"""Entries of a patch up to which their moments are a matrix; of larger ones patches are kept."""

FEW = 4
"""Patches are kept too where there are fewer than this part of their entries."""

AT_ONCE = 2**28
"""Numbers in the patches of a layer that are fitted at once, a gibibyte."""

KEPT = 2**27
"""Numbers in the patches that are kept of a layer, half a gibibyte, and half of that where options
are only compared; at least :data:`FEWEST` patches."""

FEWEST = 1_024

UNEVEN = 2
"""How many times its share of the patches a call takes at most, where batches have more places than
two images told."""


def samplers(
    net: nn.Module,
    layers: Mapping[str, Layer],
    parts: Sequence[Rows],
    seed: int,
    *,
    each: int = EACH,
) -> dict[str, Sampler]:
    """A sampler for each layer that takes enough patches for its kernel, see :func:`samples`.

    Args:
        net: what the layers stand in.
        parts: all batches that patches are taken of. How many places there are to take is seen on
            two images.
    """
    some = parts[0][:2]
    images = sum(map(len, parts))
    found: dict[str, Sampler] = {}
    there = dict.fromkeys(layers, 0)

    def watch(name: str) -> RemovableHandle:
        def enter(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            there[name] += found[name].places_in(fed(args, kwargs))

        return net.get_submodule(name).register_forward_pre_hook(enter, with_kwargs=True)

    for number, (name, layer) in enumerate(layers.items()):
        wanted = samples(patch_size(layer), each, groups=groups_of(layer))
        found[name] = Sampler(layer, wanted, 0, seed + number)
    run_watched(net, some, [watch(name) for name in layers])
    return {
        name: replace(
            sampler,
            of=there[name] * images // len(some),
            most=-(-UNEVEN * sampler.wanted // len(parts)),
        )
        for name, sampler in found.items()
    }


def samples(unknowns: int, each: int = EACH, *, groups: int = 1) -> int:
    """How many patches of so many values are taken of a layer."""
    if unknowns > WHOLE_UP_TO:
        most = KEPT // (unknowns * groups)
        return max(most * each // EACH, FEWEST)
    return min(max(each * unknowns, SAMPLES[0]), SAMPLES[1], AT_ONCE // unknowns)


def are_kept(count: int, size: int) -> bool:
    """Whether ``count`` patches of ``size`` entries are less to work with than their moments."""
    return size > WHOLE_UP_TO or FEW * count < size


@torch.no_grad()
def input_moments(
    net: nn.Module,
    samples: Mapping[str, Sampler],
    parts: Sequence[Rows],
    *,
    centred: Collection[str] = (),
    progress: bool | None = None,
) -> dict[str, list[SecondMoments]]:
    """For each layer, by name, the second moments of its patches, of each group; on the processor.

    Args:
        centred: layers whose constant is of no account, as a batch norm takes it out again; their
            moments are those around the mean.

    Raises:
        TensorpressError: a layer that is fed NaN or inf, or nothing.
    """
    sums: dict[str, Tensor] = {}
    kept: dict[str, list[Tensor]] = {}
    totals: dict[str, Tensor] = {}
    counts: dict[str, int] = dict.fromkeys(samples, 0)

    def watch(name: str, sampler: Sampler) -> RemovableHandle:
        def enter(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            patches = sampler.patches(fed(args, kwargs)).float()
            counts[name] += patches.shape[1]
            if are_kept(counts[name], patches.shape[2]):
                kept.setdefault(name, []).append(patches)
                return
            patches = torch.cat([*kept.pop(name, ()), patches], 1)
            product = products(patches)
            total = patches.sum(1)
            totals[name] = totals[name] + total if name in totals else total
            sums[name] = sums[name] + product if name in sums else product

        return net.get_submodule(name).register_forward_pre_hook(enter, with_kwargs=True)

    for part in track(parts, "looking at what layers are fed", show=progress):
        run_watched(net, part, [watch(name, sampler) for name, sampler in samples.items()])
    refuse_unreached([name for name in samples if not counts[name]])
    found: dict[str, list[SecondMoments]] = {}
    for name in samples:
        values = kept[name] if name in kept else [sums[name]]
        if not all(bool(torch.isfinite(value).all()) for value in values):
            raise TensorpressError(
                f"layer '{name}' is fed NaN, inf or values too large on the calibration images: "
                "look for images that are not normalised, or exclude the layer."
            )
        if name in kept:
            patches = torch.cat(kept.pop(name), 1).cpu()
            if name in centred:
                patches -= patches.mean(1, keepdim=True)
            found[name] = [SampledMoments(group) for group in patches]
        else:
            moments = sums.pop(name).cpu().double() / counts[name]
            if name in centred:
                mean = totals[name].cpu().double() / counts[name]
                moments -= mean.unsqueeze(2) * mean.unsqueeze(1)
            found[name] = [WholeMoments(group.float()) for group in moments]
    return found


def refuse_unreached(names: Sequence[str]) -> None:
    """Raise where layers are fed nothing on the calibration images.

    Raises:
        TensorpressError: it names the first one.
    """
    if names:
        raise TensorpressError(
            f"layer '{names[0]}' is reached by none of the calibration images, so that nothing "
            "tells what it may lose: exclude it, or give images that reach it."
        )
