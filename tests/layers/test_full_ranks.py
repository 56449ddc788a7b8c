"""The ranks at which methods lose nothing."""

import numpy as np
import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.layers.kinds import Layer
from tensorpress.layers.methods import DECOMPOSITIONS

LAYERS: dict[str, Layer] = {
    "square": nn.Conv2d(4, 6, 3, bias=False),
    "flat": nn.Conv2d(3, 5, (1, 3), bias=False),
    "pointwise": nn.Conv2d(4, 7, 1, bias=False),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, bias=False),
    "linear": nn.Linear(5, 3, bias=False),
}
KNOWN = [name for name, m in DECOMPOSITIONS.items() if m.full_ranks(LAYERS["square"]) is not None]


def test_methods_without_full_ranks_are_those_of_other_networks_of_tensors() -> None:
    assert set(DECOMPOSITIONS) - set(KNOWN) == {"kronecker", "tensor-ring", "hierarchical-tucker"}


@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("method", KNOWN)
def test_ranks_over_them_are_clamped_to_them(method: str, layer: Layer) -> None:
    full = DECOMPOSITIONS[method].full_ranks(layer)
    assert full is not None
    chain = tp.factorize(layer, method=method, rank=tp.Ranks(*(10**4 for _ in full)))
    assert chain.ranks == full
    shape = (5,) if isinstance(layer, nn.Linear) else (layer.in_channels, 8, 8)
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(chain(inputs), layer(inputs), rtol=1e-3, atol=1e-4)


def test_of_a_train_they_are_those_of_the_unfoldings() -> None:
    kernel = LAYERS["square"].weight.detach().permute(1, 2, 3, 0).double().numpy()
    ranks = [np.linalg.matrix_rank(kernel.reshape(side, -1)) for side in (4, 4 * 3, 4 * 3 * 3)]
    assert DECOMPOSITIONS["ttpwt"].full_ranks(LAYERS["square"]) == tuple(ranks)
