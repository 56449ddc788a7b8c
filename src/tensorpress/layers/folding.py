"""Parametrisations of a layer, such as weight norm: found, and folded into a plain one."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from tensorpress.layers.eligible import listens
from tensorpress.layers.kinds import (
    KINDS,
    Layer,
    filled_layer,
    groups_of,
    is_layer,
    kernel_of,
    settings_of,
)
from tensorpress.layers.shared_weight import shared_weight_of

PARAMETRISED = (
    "parametrised (weight norm, a mask, ...): fold_parametrizations=True "
    "(--fold-parametrizations) decomposes the weight that it comes to"
)
HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)
"""What computes a weight before each forward pass, in PyTorch's older style."""
OF_BIAS = ("bias", "parametrizations.bias.")
"""How the names of the parameters begin that a bias is, or is made of in either style."""


def is_foldable(module: nn.Module) -> bool:
    """Whether a layer of one of the kinds differs from a plain one in parametrisations alone.

    They may be of either style, old and new; weights that a treatment shares are none.
    """
    if not is_layer(module) or shared_weight_of(module) is not None:
        return False
    if parametrize.is_parametrized(module):
        plain = parametrize.type_before_parametrizations(module) in KINDS
        return plain and not listens(module)
    hooks = list(module._forward_pre_hooks.values())
    if type(module) not in KINDS or not hooks or not all(isinstance(h, HOOKS) for h in hooks):
        return False
    return not any((module._forward_hooks, module._backward_hooks, module._backward_pre_hooks))


@torch.no_grad()
def fold(module: nn.Module) -> Layer:
    """The plain layer that one which :func:`is_foldable` is in eval mode."""
    layer: Any = module
    modes = [(part, part.training) for part in module.modules()]
    module.eval()  # spectral norm moves its vectors in training mode
    try:
        for hook in module._forward_pre_hooks.values():
            cast(Any, hook)(module, ())
        weight, bias = layer.weight.detach(), layer.bias
    finally:
        for part, training in modes:
            part.training = training
    made: Any = filled_layer(
        module,
        kernel_of(layer, weight),
        cast("Tensor | None", bias),
        groups=groups_of(layer),
        settings=settings_of(layer),
    )
    _train_alike(made, layer)
    return cast(Layer, made.train(module.training))


def _train_alike(made: Any, layer: Any) -> None:
    """Have the weight and the bias of a plain layer trained where what they were made of is."""
    trained: dict[bool, list[bool]] = {True: [], False: []}
    for name, parameter in layer.named_parameters():
        trained[name.startswith(OF_BIAS)].append(parameter.requires_grad)
    made.weight.requires_grad_(any(trained[False]))
    if made.bias is not None:
        made.bias.requires_grad_(any(trained[True]))
