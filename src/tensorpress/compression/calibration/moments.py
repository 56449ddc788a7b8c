"""Second moments of the patches that layers are fed, and of what they answer."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.compression.calibration.patches import Sampler
from tensorpress.compression.calibration.watching import fed, run_watched
from tensorpress.errors import TensorpressError
from tensorpress.layers.kinds import Layer, patch_size
from tensorpress.progress import track

SAMPLES = (16_384, 49_152)
"""Patches of each layer: at least and at most so many in all, and about six for each unknown."""


def samplers(layers: Mapping[str, Layer], images: int, seed: int) -> dict[str, Sampler]:
    """A sampler for each layer that takes enough patches for its kernel."""
    chosen = {}
    for number, (name, layer) in enumerate(layers.items()):
        chosen[name] = Sampler(layer, -(-samples(patch_size(layer)) // images), seed + number)
    return chosen


def samples(unknowns: int) -> int:
    """How many patches of so many values are taken of a layer."""
    return min(max(6 * unknowns, SAMPLES[0]), SAMPLES[1])


@torch.no_grad()
def input_moments(
    net: nn.Module,
    samples: Mapping[str, Sampler],
    parts: Sequence[Tensor],
    *,
    progress: bool | None = None,
) -> dict[str, Tensor]:
    """For each layer, by name, the second moments of its patches: (groups, P, P), float32.

    Raises:
        TensorpressError: a layer that is fed NaN or inf.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = dict.fromkeys(samples, 0)
    modules = dict(net.named_modules())
    handles = []

    def watch(name: str, sampler: Sampler) -> None:
        def enter(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            patches = sampler.patches(fed(args, kwargs)).float()
            product = patches.transpose(1, 2) @ patches
            sums[name] = sums[name] + product if name in sums else product
            counts[name] += patches.shape[1]

        handle = modules[name].register_forward_pre_hook(enter, with_kwargs=True)
        handles.append(handle)

    for name, sampler in samples.items():
        watch(name, sampler)
    run_watched(net, track(parts, "looking at what layers are fed", show=progress), handles)
    for name, product in sums.items():
        if not bool(torch.isfinite(product).all()):
            raise TensorpressError(
                f"layer '{name}' is fed NaN, inf or values too large on the calibration images: "
                "look for images that are not normalised, or exclude the layer."
            )
    return {name: product / counts[name] for name, product in sums.items()}
