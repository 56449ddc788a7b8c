"""The batches that a network is calibrated on."""

import torch
from torch import Tensor, nn

from tensorpress.graphs import GraphNetwork
from tensorpress.rows import Rows, changed

BATCH = 128


def batches(images: Rows, net: nn.Module, size: int = BATCH) -> list[Rows]:
    """``images`` in batches, on the device and in the dtype of the network's first parameter.

    A graph of ONNX that takes so many at once gets no more.
    """
    if isinstance(net, GraphNetwork) and net.rows is not None:
        size = min(size, net.rows)
    like = next((p for p in net.parameters() if p.is_floating_point()), None)
    if like is None:
        return even_batches(images, size)
    dtype = like.dtype

    def moved(tensor: Tensor) -> Tensor:
        return tensor.to(like.device, dtype if tensor.is_floating_point() else tensor.dtype)

    return even_batches(changed(images, moved), size)


def even_batches(images: Rows, size: int) -> list[Rows]:
    """``images`` in batches of at most ``size``, none more than one image larger than another.

    Batch norms weigh the batches alike, and have no use for one of a single image.
    """
    ends = torch.tensor_split(torch.arange(len(images)), -(-len(images) // size))
    return [images[int(rows[0]) : int(rows[-1]) + 1] for rows in ends]
