"""How the weights of a new network are drawn."""

from torch import nn


def initialise(net: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers as He et al. (2015): N(0, 2 / fan_in).

    Biases and batch norms keep PyTorch's own start.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
