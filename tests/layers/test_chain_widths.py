"""Which chains follow the widths of the layer that they stand for in their ends alone."""

from typing import Any

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.layers import DECOMPOSITIONS, Blocks
from tensorpress.layers.chain_widths import chain_ends, is_rebuilt, may_narrow

RANKS: dict[str, tuple[int, ...]] = {
    "ttpwt": (3, 4, 5),
    "ttpwt-reversed": (3, 4, 5),
    "pointwise-spatial": (3, 4),
    "pointwise-spatial-reversed": (3, 4),
    "spatial-pointwise": (4, 3),
    "spatial-pointwise-reversed": (4, 3),
    "tucker2": (3, 4),
    "cp": (5,),
    "spatial-svd": (4,),
    "spatial-svd-reversed": (4,),
    "channel-svd": (4,),
    "input-svd": (3,),
    "depthwise-separable": (5,),
    "hierarchical-tucker": (3, 2, 4, 2, 3),
    "tensor-ring": (2, 2, 3, 3),
    "tt": (2, 3, 3),
    "kronecker": (2, 1, 1),
}


def inner(chain: Any) -> list[tuple[int, ...]]:
    """Shapes of all weights without the channels that the whole chain takes and gives."""
    shapes = [list(part.weight.shape) for part in chain]
    shapes[0][1] = shapes[-1][0] = 0
    return [tuple(shape) for shape in shapes]


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("method", DECOMPOSITIONS)
def test_against_chains_of_every_smaller_width(method: str, groups: int) -> None:
    conv = nn.Conv2d(8, 12, 3, groups=groups)
    chain = tp.factorize(conv, method=method, rank=tp.Ranks(*RANKS[method]))
    if any(isinstance(part, Blocks) for part in chain):
        assert not may_narrow(chain)
        return
    assert chain_ends(chain) == (8, 12)
    assert is_rebuilt(chain)
    made = [
        DECOMPOSITIONS[method].build(nn.Conv2d(inside, outside, 3, groups=groups), chain.ranks)
        for inside in range(2 * groups, 9, groups)
        for outside in range(groups, 13, groups)
    ]
    alike = all(
        not any(isinstance(part, Blocks) for part in one) and inner(one) == inner(chain)
        for one in made
    )
    assert may_narrow(chain) == alike


def test_linear_chains() -> None:
    chain = tp.factorize(nn.Linear(20, 10), rank=tp.Ranks(3))
    assert chain_ends(chain) == (20, 10)
    assert may_narrow(chain)
    assert is_rebuilt(chain)


def test_a_chain_that_its_method_does_not_make() -> None:
    chain = tp.factorize(nn.Conv2d(8, 12, 3), rank=tp.Ranks(3, 4, 5))
    chain[1].weight = nn.Parameter(torch.zeros(3, 3, 3, 1))
    assert not is_rebuilt(chain)
    assert not may_narrow(chain)
    chain = tp.factorize(nn.Conv2d(8, 12, 3), rank=tp.Ranks(3, 4, 5))
    chain.method = "channel-svd"
    assert not is_rebuilt(chain)
    assert not may_narrow(chain)
    # A method that is not ours: the chain is known by its own sublayers, at its own widths alone.
    chain.method = "another"
    assert is_rebuilt(chain)
    assert not may_narrow(chain)
    chain[1].weight = nn.Parameter(torch.zeros(3, 3, 3, 1))
    assert not is_rebuilt(chain)
