"""Networks in the channels-last memory format, where they run in it."""

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from tensorpress.errors import TensorpressError
from tensorpress.layers import channels_last
from tensorpress.surgery.inputs import ExampleInputs, run_examples


def runs_in_channels_last(net: nn.Module, example_inputs: ExampleInputs) -> bool:
    """Whether ``net`` takes these inputs with their channels last in memory.

    A forward with ``x.view(len(x), -1)`` does not: such maps cannot be flattened without a copy.
    """
    try:
        run_examples(net, tree_map_only(torch.Tensor, channels_last, example_inputs))
    except TensorpressError:
        return False
    return True


def arrange_channels_last(net: nn.Module, example_inputs: ExampleInputs) -> bool:
    """Arrange the kernels of ``net`` so, in place, if it then runs so; whether it does."""
    convolutions = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))]
    before = [convolution.weight.data for convolution in convolutions]
    for convolution in convolutions:
        convolution.weight.data = channels_last(convolution.weight.data)
    if runs_in_channels_last(net, example_inputs):
        return True
    for convolution, weight in zip(convolutions, before, strict=True):
        convolution.weight.data = weight
    return False
