"""The least image that a network with fixed pooling takes."""

from torch import Tensor

from tensorpress.errors import TensorpressError


def require_size(network: str, images: Tensor, least: int) -> None:
    """Raise TensorpressError unless `images` (N, C, H, W) have H and W of at least `least`."""
    height, width = images.shape[-2:]
    if height < least or width < least:
        raise TensorpressError(
            f"{network} takes images of at least {least}x{least}, got {height}x{width}: "
            "enlarge them, or choose a resnet, which takes any size"
        )
