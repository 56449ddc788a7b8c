"""Put replacements where layers were."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import nn

from tensorpress.errors import TensorpressError, first_line
from tensorpress.layers.as_layer import name_place
from tensorpress.layers.folding import fold, is_foldable
from tensorpress.layers.widths import carry_record


def copy_with(net: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """A deep copy of ``net`` in which layers, by name, are replaced wherever they are referred to.

    The replaced layers themselves are not copied; replacements carry their records of widths.

    Raises:
        TensorpressError: the network cannot be copied (it holds a non-leaf tensor or a handle).
    """
    modules = dict(net.named_modules())
    for name, new in replacements.items():
        carry_record(modules[name], new)
        name_place(new, name)
    memo: dict[int, Any] = {id(modules[name]): new for name, new in replacements.items()}
    try:
        copied = copy.deepcopy(net, memo)
    except Exception as error:
        raise TensorpressError(
            f"the network cannot be copied ({first_line(error)}): give inplace=True to "
            "change it itself."
        ) from error
    for parameter in copied.parameters():
        if not parameter.is_leaf:  # so torch.jit copies its modules' parameters
            parameter.detach_().requires_grad_()
    return copied


def fold_parametrizations(net: nn.Module) -> nn.Module:
    """A copy of ``net`` whose parametrised layers are the plain ones that they are in eval mode.

    For what takes plain weights only, such as :func:`prune`. Weight norm, spectral norm and masks
    of pruning are folded, in either style of PyTorch; layers with other hooks stay.

    Raises:
        TensorpressError: the network cannot be copied.
    """
    layers = dict(net.named_modules())
    return copy_with(net, {name: fold(it) for name, it in layers.items() if is_foldable(it)})


def replace_layers(net: nn.Module, replacements: Mapping[str, nn.Module]) -> nn.Module:
    """Replace layers of ``net`` by name, in every place where each one stands; gives the network.

    They carry the records of widths of what they replace. A replacement named "" is the network
    itself, and is given back.
    """
    modules = dict(net.named_modules())
    for name, replacement in replacements.items():
        carry_record(modules[name], replacement)
        name_place(replacement, name)
    new = {id(modules[name]): replacement for name, replacement in replacements.items()}
    if id(net) in new:
        return new[id(net)]
    for parent in list(modules.values()):
        for child_name, child in parent._modules.items():
            if id(child) in new:
                parent._modules[child_name] = new[id(child)]
    return net
