"""Kernels whose rows share a codebook, written out."""

from torch import nn

from tensorpress.layers.dense_form import dense_form
from tensorpress.layers.eligible import is_hooked
from tensorpress.layers.shared_weight import shared_weight_of
from tensorpress.surgery import replace_layers


def write_out_codebooks(net: nn.Module) -> nn.Module:
    """Replace, in place, layers that gather their kernel at every call by plain ones.

    Layers with hooks stay as they are. Gives the network, or what replaces it.
    """
    plain = {
        name: dense_form(module)
        for name, module in net.named_modules()
        if shared_weight_of(module) is not None and not is_hooked(module)
    }
    return replace_layers(net, {name: layer for name, layer in plain.items() if layer is not None})
