"""Chains at other widths of the layer that they stand for: whether their ends alone follow them."""

from typing import Any

from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.layers.blocks import Blocks
from tensorpress.layers.chain import Factorized
from tensorpress.layers.methods import METHODS


def may_narrow(chain: Factorized) -> bool:
    """Whether chains of the same ranks for narrower layers differ in their ends alone.

    They do not where a method divides channels into blocks, say. Looked at are a layer with one
    channel a group, one with half of them and one with all but one.
    """
    if any(isinstance(part, Blocks) for part in chain):
        return False
    inside, outside = chain_ends(chain)
    groups = getattr(chain[0], "groups", 1)
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
    first: Any = chain[0]
    last: Any = chain[-1]
    if isinstance(first, nn.Linear):
        return first.in_features, last.out_features
    return first.in_channels, last.out_channels


def _at(chain: Factorized, inside: int, outside: int) -> Factorized | None:
    """The chain for a layer of these widths, without memory; None where there is none."""
    first: Any = chain[0]
    options: dict[str, Any] = {"bias": chain[-1].bias is not None, "device": "meta"}
    layer: Any
    if isinstance(first, nn.Linear):
        layer = nn.Linear(inside, outside, **options)
    else:
        sizes: list[tuple[int, ...]] = [factor.kernel_size for factor in chain]  # type: ignore[misc]
        kernel = tuple(map(max, zip(*sizes, strict=True)))
        layer = type(first)(inside, outside, kernel, groups=first.groups, **options)
    try:
        return METHODS[chain.method].build(layer, chain.ranks, "meta")
    except (KeyError, TensorpressError):
        return None


def _shapes(chain: Factorized, *, ends: bool) -> dict[str, tuple[int, ...]]:
    """Shapes of its tensors; without its ``ends``, as if it took and gave nothing."""
    shapes = {name: tuple(value.shape) for name, value in chain.state_dict().items()}
    if not ends:
        first, last = next(iter(chain._modules)), next(reversed(chain._modules))
        outside, inside, *kernel = shapes[f"{first}.weight"]
        shapes[f"{first}.weight"] = (outside, 0, *kernel)
        outside, inside, *kernel = shapes[f"{last}.weight"]
        shapes[f"{last}.weight"] = (0, inside, *kernel)
        shapes.pop(f"{last}.bias", None)
    return shapes
