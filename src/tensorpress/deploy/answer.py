"""What a network answers, as files and plans give it, and how two answers are held side by side."""

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tensorpress.deploy.feed import Feed
from tensorpress.errors import TensorpressError
from tensorpress.surgery import run_examples


def answer_of(net: nn.Module, feed: Feed) -> list[Tensor]:
    """The tensors of what ``net`` gives in eval mode; None is nothing, and is left out.

    It is called on copies of the inputs, into which networks may write.

    Raises:
        TensorpressError: it does not run, or its answer holds something else, or nothing.
    """
    answer = run_examples(net, feed.copied().examples)
    leaves = [leaf for leaf in tree_leaves(answer) if leaf is not None]
    refuse_others({type(leaf).__name__ for leaf in leaves if not isinstance(leaf, Tensor)})
    if not leaves:
        raise TensorpressError(
            "the network's answer holds no tensors, which are all that a file or a plan gives."
        )
    return leaves


def refuse_others(kinds: set[str]) -> None:
    """Raise for an answer that holds these kinds of things, for which files have no place.

    Raises:
        TensorpressError: there is one.
    """
    if kinds:
        raise TensorpressError(
            f"the network's answer holds {' and '.join(sorted(kinds))} beside its tensors, and a "
            "file or a plan gives tensors only: wrap it in a module that returns those."
        )


def refuse_other_shapes(
    expected: list[Tensor], found: list[Tensor], named: str, to_do: str = ""
) -> None:
    """Raise where what ``named`` gives cannot be held against the network's answer.

    Args:
        to_do: what to do about it.

    Raises:
        TensorpressError: outputs of another number or of other shapes.
    """
    if [output.shape for output in expected] == [output.shape for output in found]:
        return
    if any(output.is_complex() for output in expected):
        to_do = "files have no complex numbers: let it return torch.view_as_real of its answer"
    raise TensorpressError(
        f"{named} gives outputs of shape {_shapes(found)}, and the network of "
        f"{_shapes(expected)}{to_do and ': '}{to_do}."
    )


def _shapes(outputs: list[Tensor]) -> str:
    of = {output.dtype for output in outputs if output.is_complex()}
    told = ", ".join(str(tuple(output.shape)) for output in outputs)
    return " ".join([told or "none", *(str(dtype) for dtype in of)])


def tells(answer: list[Tensor]) -> bool:
    """Whether something can be held against an answer: there is no NaN in it, and each of its
    tensors holds a finite number, or nothing.
    """
    finite = [output.isfinite() for output in answer]
    without_nan = not any(bool(output.isnan().any()) for output in answer)
    return without_nan and all(bool(f.any()) or not f.numel() for f in finite)


def comparable(expected: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape as float64, what is expected being finite.

    Where infinite values are expected, as masks and the logarithm of zero give them, the largest
    and the smallest finite one stand for these, for infinite ones that are found, and for all
    beyond them that is found in their places. Where NaN is expected both are zero. NaN that is
    found elsewhere stays, and so does inf in what is expected to be finite.
    """
    expected, found = _numbers(expected), _numbers(found)
    finite = expected[expected.isfinite()]
    most = torch.finfo(torch.float64).max
    low, high = map(float, finite.aminmax()) if len(finite) else (-most, most)
    infinite = expected.isinf()
    bounded = infinite | found.isinf() if infinite.any() else infinite
    found = torch.where(bounded, found.clamp(low, high), found)
    unknown = expected.isnan()
    return expected.clamp(low, high).masked_fill(unknown, 0), found.masked_fill(unknown, 0)


def largest_of(output: Tensor) -> float:
    """The largest absolute value that is finite; 0 where there is none."""
    numbers = _numbers(output)
    finite = numbers[numbers.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0


def _numbers(output: Tensor) -> Tensor:
    """Values as float64, of complex ones both parts."""
    return (torch.view_as_real(output.resolve_conj()) if output.is_complex() else output).double()
