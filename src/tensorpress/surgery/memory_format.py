"""Networks in the channels-last memory format, where they run in it."""

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from tensorpress.errors import TensorpressError
from tensorpress.graphs import GraphNetwork
from tensorpress.layers import channels_last
from tensorpress.surgery.inputs import ExampleInputs, run_examples


def runs_in_channels_last(net: nn.Module, example_inputs: ExampleInputs) -> bool:
    """Whether ``net`` takes these inputs with their channels last in memory.

    A forward with ``x.view(len(x), -1)`` does not: such maps cannot be flattened without a copy.
    Nor does a graph of ONNX, between whose layers channels come second.
    """
    if isinstance(net, GraphNetwork):
        return False
    try:
        run_examples(net, tree_map_only(torch.Tensor, channels_last, example_inputs))
    except TensorpressError:
        return False
    return True


def arrange_kernels(net: nn.Module) -> None:
    """Put the kernels of ``net`` in that format, in place."""
    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            module.weight.data = channels_last(module.weight.data)


def arrange_channels_last(net: nn.Module, example_inputs: ExampleInputs) -> bool:
    """Arrange the kernels of ``net`` so, in place, if it then runs so; whether it does."""
    before = {name: parameter.data for name, parameter in net.named_parameters()}
    arrange_kernels(net)
    if runs_in_channels_last(net, example_inputs):
        return True
    for name, parameter in net.named_parameters():
        parameter.data = before[name]
    return False
