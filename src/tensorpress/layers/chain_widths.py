"""Chains at other widths of the layer that they stand for: whether their ends alone follow them."""

from tensorpress.errors import TensorpressError
from tensorpress.layers.blocks import Blocks
from tensorpress.layers.chain import Factorized, build_chain
from tensorpress.layers.kinds import (
    groups_of,
    in_channels,
    is_transposed,
    kernel_size,
    new_layer,
    out_channels,
)
from tensorpress.layers.methods import DECOMPOSITIONS


def may_narrow(chain: Factorized) -> bool:
    """Whether chains of the same ranks for narrower layers differ in their ends alone.

    They do not where a method divides channels into blocks, say. Looked at are a layer with one
    channel a group, one with half of them and one with all but one.
    """
    if any(isinstance(part, Blocks) for part in chain):
        return False
    inside, outside = chain_ends(chain)
    groups = groups_of(chain[0])
    inner = _shapes(chain, ends=False)
    for number in {1, inside // groups // 2, inside // groups - 1} - {0, -1}:
        narrow = _at(chain, number * groups, outside)
        if narrow is None or _shapes(narrow, ends=False) != inner:
            return False
    for number in {1, outside // groups // 2, outside // groups - 1} - {0, -1}:
        narrow = _at(chain, inside, number * groups)
        if narrow is None or _shapes(narrow, ends=False) != inner:
            return False
    return True


def is_rebuilt(chain: Factorized) -> bool:
    """Whether its method gives this chain at its ranks for a layer of the widths of its ends."""
    made = _at(chain, *chain_ends(chain))
    return made is not None and _shapes(made, ends=True) == _shapes(chain, ends=True)


def chain_ends(chain: Factorized) -> tuple[int, int]:
    """Channels or features that a chain without blocks takes and gives."""
    return in_channels(chain[0]), out_channels(chain[-1])


def _at(chain: Factorized, inside: int, outside: int) -> Factorized | None:
    """The chain for a layer of these widths, without memory; None where there is none."""
    first = chain[0]
    sizes = map(kernel_size, chain)
    settings = {"kernel_size": tuple(map(max, zip(*sizes, strict=True)))}
    bias = chain[-1].bias is not None
    layer = new_layer(first, inside, outside, bias=bias, groups=groups_of(first), settings=settings)
    if chain.method not in DECOMPOSITIONS:
        own = (inside, outside) == chain_ends(chain)
        return build_chain(layer, chain.layout, "meta") if own and chain.layout else None
    try:
        return DECOMPOSITIONS[chain.method].build(layer, chain.ranks, "meta")
    except TensorpressError:
        return None


def _shapes(chain: Factorized, *, ends: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of its tensors; without its ``ends``, as if it took and gave nothing."""
    shapes = {name: tuple(value.shape) for name, value in chain.state_dict().items()}
    if not ends:
        first, last = next(iter(chain._modules)), next(reversed(chain._modules))
        inputs, outputs = (0, 1) if is_transposed(chain[0]) else (1, 0)
        for name, axis in ((first, inputs), (last, outputs)):
            shape = list(shapes[f"{name}.weight"])
            shape[axis] = 0
            shapes[f"{name}.weight"] = tuple(shape)
        shapes.pop(f"{last}.bias", None)
    return shapes
