"""One of two processes that train a compressed network by DistributedDataParallel.

Arguments: rank, the file where they meet, the folder for gradients-RANK.pt.
"""

import sys
from pathlib import Path

import torch
from nets import tiny
from torch import distributed
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel


def gradients(net: torch.nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Of the mean cross entropy with the labels 0, 1, 2, ..."""
    net.zero_grad()
    F.cross_entropy(net(images), torch.arange(len(images)) % 10).backward()
    return [value.grad.clone() for value in net.parameters()]


def halves() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(10, 3, 12, 12, generator=generator).repeat(2, 1, 1, 1)
    return images[:10], torch.flip(images[10:], (2,))


if __name__ == "__main__":
    rank = int(sys.argv[1])
    distributed.init_process_group("gloo", f"file://{sys.argv[2]}", rank=rank, world_size=2)
    torch.manual_seed(rank)  # the second one starts from other weights
    net = DistributedDataParallel(tiny()[0])
    torch.save(gradients(net, halves()[rank]), Path(sys.argv[3]) / f"gradients-{rank}.pt")
    distributed.destroy_process_group()
