"""Networks in the channels-last memory format, where they run in it."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from tensorpress.errors import TensorpressError
from tensorpress.graphs import GraphNetwork
from tensorpress.layers import channels_last, channels_second
from tensorpress.surgery.inputs import ExampleInputs, run_examples

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
VECTOR = 16
"""Numbers in a vector register, of the widest."""


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


def trains_in_channels_last(net: nn.Module) -> bool:
    """Whether the gradients of its kernels can be computed in that format.

    oneDNN, by which PyTorch computes them on processors, writes past its memory for convolutions of
    one pixel with a stride that read fewer channels than a vector register holds: the process ends,
    then or later (PyTorch 2.13, AVX2: below 8 channels).
    """
    return not any(
        isinstance(module, CONVOLUTIONS)
        and module.weight.shape[2:].numel() == 1
        and module.stride not in (1, (1, 1), (1, 1, 1))
        and module.in_channels // module.groups < VECTOR
        for module in net.modules()
    )


def arrange_kernels(net: nn.Module) -> None:
    """Put the kernels of ``net`` in that format, in place."""
    _lay_out(net, channels_last, CONVOLUTIONS)


def arrange_for_training(net: nn.Module, example_inputs: ExampleInputs) -> bool:
    """As :func:`arrange_channels_last`, where it trains so; its kernels are contiguous else.

    That holds for those of transposed convolutions, too: maps after any kernel lie as it does.
    """
    if trains_in_channels_last(net):
        return arrange_channels_last(net, example_inputs)
    _lay_out(net, channels_second, (*CONVOLUTIONS, nn.ConvTranspose2d, nn.ConvTranspose3d))
    return False


def arrange_channels_last(net: nn.Module, example_inputs: ExampleInputs) -> bool:
    """Arrange the kernels of ``net`` so, in place, if it then runs so; whether it does."""
    before = {name: parameter.data for name, parameter in net.named_parameters()}
    arrange_kernels(net)
    if runs_in_channels_last(net, example_inputs):
        return True
    for name, parameter in net.named_parameters():
        parameter.data = before[name]
    return False


def _lay_out(
    net: nn.Module,
    arranged: Callable[[torch.Tensor], torch.Tensor],
    kinds: tuple[type[nn.modules.conv._ConvNd], ...],
) -> None:
    for module in net.modules():
        if isinstance(module, kinds):
            module.weight.data = arranged(module.weight.data)
