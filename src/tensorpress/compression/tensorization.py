"""Networks of tensorized layers that start at random, to be trained from scratch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tensorpress.compression.budget import Budget
from tensorpress.compression.request import Request
from tensorpress.errors import TensorpressError
from tensorpress.layers import TENSORIZED, TTConv2d, refuse_unreadable
from tensorpress.layers.tensorized import (
    FACTORS,
    near_equal_factors,
    rank_bounds,
    why_not_tensorized,
)
from tensorpress.surgery import (
    Account,
    Cost,
    ExampleInputs,
    LayerRow,
    Selector,
    SurveyedLayer,
    copy_with,
    count,
    keep_reasons,
    list_selectors,
    match_patterns,
    survey,
)

MOST = 2**16
"""A rank over every bound."""
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

    >>> from tensorpress import Budget, networks
    >>> image = torch.zeros(1, 3, 32, 32)
    >>> result = tensorize(networks.tt_conv_cnn(), image, budget=Budget(params=4))
    >>> result.model.features.conv6.ranks, round(result.pcr, 2)
    ((9, 29, 16), 4.02)
    """
    if method not in TENSORIZED:
        raise TensorpressError(
            f"there is no tensorized layer '{method}'; there is: {', '.join(TENSORIZED)}."
        )
    if (rank is None) == (budget is None):
        raise TensorpressError(
            "give either rank=, such as rank=20, or budget=, such as budget=Budget(params=4)."
        )
    if budget is not None and (not isinstance(budget, Budget) or budget.is_timed):
        raise TensorpressError(
            f"budget={budget!r}: tensorized layers are not timed; give Budget(params=4) or "
            "Budget(macs=2)."
        )
    include = None if include is None else list_selectors(include)
    exclude = list_selectors(exclude)
    surveyed = survey(net, example_inputs)
    reasons = keep_reasons(
        net, surveyed, include=include, exclude=exclude, skip_first=skip_first, linear=False
    )
    for layer in surveyed.layers:
        if layer.name not in reasons and (why := why_not_tensorized(layer.module)) is not None:
            reasons[layer.name] = why
    layers = [layer for layer in surveyed.layers if layer.name not in reasons]
    for layer in layers:
        refuse_unreadable(layer.name, layer.module)

    if budget is None:
        assert rank is not None
        patterns = rank if isinstance(rank, Mapping) else {"*": rank}
        ranks = match_patterns(net, [s.name for s in layers], patterns, "rank pattern", reasons)
    else:
        ranks = dict.fromkeys(
            (s.name for s in layers), _rank_within(layers, surveyed.cost, method, budget)
        )
    made = {s.name: _made(s, method, ranks[s.name]) for s in layers if s.name in ranks}
    smaller = {s.name: made[s.name] for s in layers if s.name in made and _is_smaller(s, made)}
    model = copy_with(net, dict(smaller))
    after = count(model, example_inputs)

    def decision(name: str) -> str:
        if name in smaller:
            return f"{method}: random start"
        if name in made:
            size = sum(p.numel() for p in made[name].parameters())
            return f"kept: would not get smaller ({size:,} params)"
        return f"kept: {reasons.get(name, 'no rank pattern fits its name')}"

    rows = [
        LayerRow.of(
            layer.name,
            layer.module,
            (layer.cost, after.layers[layer.name]),
            decision(layer.name),
            ranks=smaller[layer.name].ranks if layer.name in smaller else None,
        )
        for layer in surveyed.layers
    ]
    before = surveyed.cost
    request = Request.of(
        method=method,
        budget=budget,
        include=include,
        exclude=exclude,
        skip_first=skip_first,
        settings={} if rank is None else {"rank": rank},
    ).to_dict()
    return Account(
        model, tuple(rows), before.params, after.params, before.macs, after.macs, request
    )


def _made(layer: SurveyedLayer, method: str, rank: Rank, device: Any = None) -> TTConv2d:
    conv = layer.module
    assert isinstance(conv, nn.Conv2d)
    ins = near_equal_factors(conv.in_channels, FACTORS)
    outs = near_equal_factors(conv.out_channels, FACTORS)
    _check_rank(rank)
    if isinstance(rank, int):
        rank = [min(rank, bound) for bound in rank_bounds(ins, outs, conv.kernel_size)]
    naive = method == "tt-conv-naive"
    try:
        return TTConv2d.like(conv, ins, outs, rank, naive=naive, device=device)
    except TensorpressError as error:
        raise TensorpressError(f"layer '{layer.name}': {error}") from error


def _check_rank(rank: object) -> None:
    if isinstance(rank, str) or not isinstance(rank, (int, Sequence)):
        raise TensorpressError(
            f"rank={rank!r}: give a whole number for all bonds, or three, such as (9, 20, 20)."
        )


def _is_smaller(layer: SurveyedLayer, made: Mapping[str, TTConv2d]) -> bool:
    return sum(p.numel() for p in made[layer.name].parameters()) < layer.cost.params


def _rank_within(layers: Sequence[SurveyedLayer], cost: Cost, method: str, budget: Budget) -> int:
    """The largest rank for all bonds with which the network reaches the budget."""

    def ratios(rank: int) -> tuple[float, float]:
        params, macs = cost.params, cost.macs
        for layer in layers:
            made = {layer.name: _made(layer, method, rank, device="meta")}
            if _is_smaller(layer, made):
                counted = [
                    count(made[layer.name], torch.zeros(shape, device="meta"))
                    for shape in layer.cost.inputs
                ]
                params += counted[0].params - layer.cost.params
                macs += sum(c.macs for c in counted) - layer.cost.macs
        return cost.params / params, cost.macs / macs if macs else 1.0

    if not budget.is_met(*ratios(1)):
        pcr, fcr = ratios(1)
        raise TensorpressError(
            f"{budget} cannot be reached: with rank 1 everywhere PCR is {pcr:.2f} and FCR "
            f"{fcr:.2f}. Ask for less, or exclude fewer layers."
        )
    low, high = 1, 2
    while high < MOST and budget.is_met(*ratios(high)):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if budget.is_met(*ratios(middle)) else (low, middle)
    return low
