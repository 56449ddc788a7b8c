"""The paper's networks, any network by name, and weight files as people have them."""

from tensorpress.networks.build import NETWORKS, RESNETS, build
from tensorpress.networks.own_network import own_network
from tensorpress.networks.resnet import (
    ResNet,
    resnet20,
    resnet32,
    resnet44,
    resnet56,
    resnet110,
)
from tensorpress.networks.tt_conv import TT_CONV, tt_conv
from tensorpress.networks.tt_conv_cnn import TTConvCNN, tt_conv_cnn
from tensorpress.networks.vggnet import VGGNet, vggnet
from tensorpress.networks.weights import load_weights

__all__ = [
    "NETWORKS",
    "RESNETS",
    "TT_CONV",
    "ResNet",
    "TTConvCNN",
    "VGGNet",
    "build",
    "load_weights",
    "own_network",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "tt_conv",
    "tt_conv_cnn",
    "vggnet",
]
