"""A kernel whose rows are entries of a codebook: what is stored of a clustered layer."""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

SHARED = "deep-k-means"
PARAMETER_BITS = 32


class SharedWeight(nn.Module):
    """Parametrisation of a convolution's weight by a codebook and an index for each of its rows.

    A row is what the kernel holds along its last axis. The layer's parameter is the codebook, from
    which every forward pass gathers the weight, so gradients add up over the rows that share an
    entry. Given a weight, the codebook becomes the mean of the rows of each index.

    Args:
        indices: of the rows in the order in which they lie, (N,), whole numbers below ``clusters``.
        clusters: K, entries of the codebook, each (s,).
        shape: of the weight, N s numbers in all.
    """

    indices: Tensor

    def __init__(self, indices: Tensor, clusters: int, shape: torch.Size) -> None:
        super().__init__()
        self.clusters, self.shape = clusters, shape
        self.register_buffer("indices", indices.to(_index_dtype(clusters)))

    def forward(self, codebook: Tensor) -> Tensor:
        return codebook[self.indices.long()].reshape(self.shape)

    def right_inverse(self, weight: Tensor) -> Tensor:
        rows, indices = weight.reshape(-1, self.shape[-1]).double(), self.indices.long()
        sums = rows.new_zeros(self.clusters, self.shape[-1]).index_add(0, indices, rows)
        ones = rows.new_ones(len(indices))
        counts = rows.new_zeros(self.clusters).index_add(0, indices, ones)
        return (sums / counts.clamp(min=1)[:, None]).to(weight.dtype)

    @property
    def index_params(self) -> int:
        """What the indices take, in 32-bit parameters: ceil(log2 K) bits each."""
        return math.ceil(len(self.indices) * index_bits(self.clusters) / PARAMETER_BITS)

    def extra_repr(self) -> str:
        return f"clusters={self.clusters}, rows={len(self.indices)}"


def index_bits(clusters: int) -> int:
    """The bits that tell ``clusters`` entries apart; none for a single one."""
    return (clusters - 1).bit_length()


def share(layer: nn.Module, indices: Tensor, clusters: int) -> None:
    """Give a layer, in place, a weight of which rows with one index are one; it takes their mean.

    Args:
        layer: a convolution that is not parametrised.
        indices: as of :class:`SharedWeight`.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    shared = SharedWeight(indices.to(weight.device), clusters, weight.shape)
    parametrize.register_parametrization(layer, "weight", shared)
    layer.train(layer.training)


def shared_weight_of(layer: nn.Module) -> SharedWeight | None:
    """How the weight of a layer is shared; None where it is not."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    held = layer.parametrizations["weight"]  # type: ignore[index]
    return next((made for made in held if isinstance(made, SharedWeight)), None)


def _index_dtype(clusters: int) -> torch.dtype:
    """The narrowest that holds every index, and that safetensors and indexing know."""
    if clusters <= 2**8:
        return torch.uint8
    return torch.int16 if clusters <= 2**15 else torch.int32
