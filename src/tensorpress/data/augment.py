"""Random crops and flips of whole batches, on the device of the images."""

import torch
from torch import Tensor


def augment(images: Tensor, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Crop each image at its own random offset and mirror it with its own coin.

    The usual recipe for CIFAR: `padding` black pixels (0) are put on every side of the raw image,
    a window of the old size is cut out at one of (2 padding + 1)^2 offsets, and half of the images
    are mirrored left to right. The same generator state gives the same images, bit for bit; on a
    GPU nothing waits if the generator is on the GPU too.

    Parameters:
        images: uint8, (N, C, H, W); left as it is.
        padding: pixels, 0 for no crops.
        flip: whether to mirror.
        generator: draws the offsets and coins, on its own device.

    Returns:
        uint8, (N, C, H, W), on the device of `images`.
    """
    count, channels, height, width = images.shape
    device = images.device
    drawn = draw(count, padding=padding, flip=flip, generator=generator)
    drawn = drawn.to(device, non_blocking=True)
    top, left, mirrored = drawn

    # Both mirror images of each image, padded, in one buffer: a crop is then a run of `width`
    # bytes for each of its rows, and copying runs is several times faster than single pixels.
    tall, wide = height + 2 * padding, width + 2 * padding
    padded = images.new_zeros(1 + int(flip), count, channels, tall, wide)
    inner = padded[..., padding : padding + height, padding : padding + width]
    inner[0] = images
    if flip:
        inner[1] = images.flip(3)

    image = mirrored * count + torch.arange(count, device=device)
    corner = (image * channels * tall + top) * wide + left
    plane = torch.arange(channels, device=device)[:, None] * (tall * wide)
    row = torch.arange(height, device=device) * wide
    starts = corner[:, None, None] + plane + row
    runs = padded.as_strided((padded.numel() - width + 1, width), (1, 1))
    return runs.index_select(0, starts.flatten()).view(count, channels, height, width)


def draw(count: int, *, padding: int, flip: bool, generator: torch.Generator) -> Tensor:
    """What `augment` draws for ``count`` images.

    Returns:
        int64 (3, count): offset from the top, offset from the left, 1 where mirrored.
    """
    device = generator.device
    offsets = torch.randint(2 * padding + 1, (2, count), generator=generator, device=device)
    coins = torch.randint(1 + int(flip), (1, count), generator=generator, device=device)
    return torch.cat((offsets, coins))
