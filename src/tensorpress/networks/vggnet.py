"""VGGnet: VGG-19 with batch norm for small images."""

from torch import Tensor, nn

from tensorpress.networks.image_size import require_size
from tensorpress.networks.initialise import initialise

_STAGES = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)
_LEAST_SIZE = 2 ** len(_STAGES)


def vggnet(num_classes: int = 10, in_channels: int = 3) -> "VGGNet":
    """VGGnet with drawn weights: 20,035,018 parameters, 398.14M MACs on 3x32x32 images."""
    return VGGNet(num_classes, in_channels)


class VGGNet(nn.Module):
    """Images (N, C, H, W) -> logits (N, num_classes); H and W of at least 32.

    The 16 convolutions (3x3, padding 1, no bias) of VGG-19, each with batch norm and ReLU, and a
    2x2 max pool after every stage; the last map (1x1 for 32x32 images, else averaged) goes into
    one linear layer.

    After Simonyan and Zisserman (2015), configuration E.

    Raises:
        TensorpressError: in `forward`, for images under 32x32.
    """

    def __init__(self, num_classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = in_channels
        for widths in _STAGES:
            for width in widths:
                layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=False))
                layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels, num_classes)
        initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        require_size("vggnet", images, _LEAST_SIZE)
        maps: Tensor = self.features(images)
        logits: Tensor = self.classifier(maps.mean((2, 3)))
        return logits
