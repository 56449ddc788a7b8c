"""The plain layer that a treated one stands for."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from tensorpress.layers.blocks import Blocks
from tensorpress.layers.chain import Factorized
from tensorpress.layers.kinds import (
    Layer,
    filled_layer,
    groups_of,
    is_plain,
    kernel_of,
    settings_of,
)
from tensorpress.layers.merge import can_merge, merge
from tensorpress.layers.shared_weight import shared_weight_of
from tensorpress.layers.tensorized import TTConv2d


@torch.no_grad()
def dense_form(module: nn.Module) -> Layer | None:
    """A layer of one of the kinds that computes what ``module`` does; a plain one is itself.

    A chain of factors is multiplied out, and so is a tensorized layer; shared weights are written
    out. Mode and ``requires_grad`` are those of the module. None for other modules, and for a chain
    that no single layer computes.
    """
    if is_plain(module):
        return cast(Layer, module)
    made = _made(module)
    if made is None or not is_plain(made):
        return None
    bias = module[-1].bias if isinstance(module, Factorized) else module.bias
    weights = [parameter for parameter in module.parameters() if parameter is not bias]
    layer: Any = made.train(module.training)
    layer.weight.requires_grad_(any(weight.requires_grad for weight in weights))
    if layer.bias is not None:
        layer.bias.requires_grad_(bias is not None and bool(bias.requires_grad))
    return cast(Layer, layer)


def _made(module: nn.Module) -> nn.Module | None:
    if isinstance(module, Factorized):
        plain = all(is_plain(p) for c in module for p in (c if isinstance(c, Blocks) else (c,)))
        return merge(list(module)) if plain and can_merge(list(module)) else None
    if isinstance(module, TTConv2d):
        like = module.spatial
        layer: nn.Module = filled_layer(
            like, module.kernel(), module.bias, settings=settings_of(like)
        )
        return layer
    if shared_weight_of(module) is not None:
        held = cast(Any, module.parametrizations)
        if len(held) > 1 or len(held["weight"]) > 1:
            return None
        written_out: nn.Module = filled_layer(
            module,
            kernel_of(module),
            cast("Tensor | None", module.bias),
            groups=groups_of(module),
            settings=settings_of(module),
        )
        return written_out
    return None
