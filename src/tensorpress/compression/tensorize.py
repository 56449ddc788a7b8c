"""Networks of tensorized layers that start at random, to be trained from scratch."""

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from tensorpress.compression.compress import compress
from tensorpress.compression.selection import rules_from
from tensorpress.decompose import Ranks
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers import TENSORIZED
from tensorpress.request.budget import Budget
from tensorpress.surgery import Account, ExampleInputs, Selector

Rank = int | Sequence[int]
"""One rank for every bond of a layer, or each of them."""


def tensorize(
    net: nn.Module,
    example_inputs: ExampleInputs,
    *,
    method: str = "tt-conv",
    rank: Rank | Mapping[str, Rank] | None = None,
    budget: Budget | None = None,
    include: Iterable[Selector] | None = None,
    exclude: Iterable[Selector] = (),
    skip_first: bool = True,
) -> Account:
    """A copy of ``net`` whose convolutions are tensor trains with random weights, to be trained.

    Every ``Conv2d`` without groups but the first becomes a
    :class:`tensorpress.layers.TTConv2d` over three near-equal factors of its channels (Garipov et
    al., "Ultimate tensorization", 2016); one that would not have fewer parameters stays. What the
    weights were does not matter: `TTConv2d.from_conv` starts from a trained kernel.

    Args:
        net: any module. It is not changed.
        example_inputs: as for `compress`.
        method: "tt-conv", which contracts core by core, or "tt-conv-naive", which multiplies the
            cores back to the kernel in every pass. Contracting takes more MACs than the dense layer
            unless ranks are very small, and each core works on maps of its own.
        rank: a number for all bonds, lowered to what a bond can use; or (R0, R1, R2), taken as they
            are; or a mapping from layer names or patterns to these.
        budget: instead of ``rank``, ratios to reach: the largest common rank that reaches them.
        include, exclude, skip_first: as for `compress`.

    Returns:
        the account; its errors are left out, as nothing is approximated.

    Raises:
        TensorpressError: no such method, a rank below 1, a budget that is of time or that rank 1
            does not reach, a selector that fits nothing, hooks that would be lost, a
            network that does not run on the inputs.

    >>> import torch
    >>> from tensorpress import Budget, networks
    >>> image = torch.zeros(1, 3, 32, 32)
    >>> result = tensorize(networks.tt_conv_cnn(), image, budget=Budget(params=4))
    >>> result.model.features.conv6.ranks, round(result.pcr, 2)
    ((9, 29, 16), 4.02)
    """
    if not isinstance(method, str) or method not in TENSORIZED:
        raise TensorpressError(
            f"there is no tensorized layer {shown(method)}; there is: {', '.join(TENSORIZED)}."
        )
    if (rank is None) == (budget is None):
        raise TensorpressError(
            "give either rank=, such as rank=20, or budget=, such as budget=Budget(params=4)."
        )
    return compress(
        net,
        example_inputs,
        method=method,
        rank=rules_from(rank, _rule),
        budget=budget,
        include=include,
        exclude=exclude,
        skip_first=skip_first,
    )


def _rule(rank: object) -> Ranks:
    if isinstance(rank, str) or not isinstance(rank, (int, Sequence)):
        raise TensorpressError(
            f"rank={shown(rank)}: give a whole number for all bonds, or three, such as (9, 20, 20)."
        )
    return Ranks(rank)
