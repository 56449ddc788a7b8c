"""TT-conv-CNN: the plain network of six convolutions of Garipov et al. (2016)."""

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from tensorpress.networks.image_size import require_size
from tensorpress.networks.initialise import initialise

_STAGES = ((64, 64), (128, 128), (128, 128))
_POOLED = 4
_LEAST_SIZE = 7


def tt_conv_cnn(num_classes: int = 10, in_channels: int = 3) -> "TTConvCNN":
    """TT-conv-CNN with drawn weights: 557,898 parameters, 103.74M MACs on 3x32x32 images.

    The paper prints 558K and 105M for it.
    """
    return TTConvCNN(num_classes, in_channels)


class TTConvCNN(nn.Module):
    """Images (N, C, H, W) -> logits (N, num_classes); H and W of at least 7, 32 in the paper.

    3x3 convolutions (padding 1, with bias) of 64, 64, pool, 128, 128, pool, 128, 128 channels,
    each with batch norm and ReLU; the pools are 3x3 maxima with stride 2 and no padding. A 4x4
    average pool and one linear layer follow.

    After Garipov, Podoprikhin, Novikov, Vetrov, "Ultimate tensorization: compressing convolutional
    and FC layers alike" (2016), section 6.

    On 32x32 images the average pool stands before a map of 7x7 and, as 4x4 windows without
    padding do, sees its upper left 4x4; the receptive field there still spans the image. Smaller
    maps are averaged whole, and several windows (images from 36x36 on) are averaged into one.

    Raises:
        TensorpressError: in `forward`, for images under 7x7.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels, number = in_channels, 0
        for stage, widths in enumerate(_STAGES):
            if stage:
                layers[f"pool{stage}"] = nn.MaxPool2d(3, stride=2)
            for width in widths:
                number += 1
                layers[f"conv{number}"] = nn.Conv2d(channels, width, 3, padding=1)
                layers[f"bn{number}"] = nn.BatchNorm2d(width)
                layers[f"relu{number}"] = nn.ReLU(inplace=True)
                channels = width
        self.features = nn.Sequential(layers)
        self.linear = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        require_size("tt_conv_cnn", images, _LEAST_SIZE)
        maps: Tensor = self.features(images)
        window = (min(_POOLED, maps.shape[2]), min(_POOLED, maps.shape[3]))
        pooled = F.avg_pool2d(maps, window)
        logits: Tensor = self.linear(pooled.mean((2, 3)))
        return logits
