"""Layers that are tensor trains from the start, and are trained as such."""

from tensorpress.layers.tensorized.factors import near_equal_factors
from tensorpress.layers.tensorized.tt_conv import (
    FACTORS,
    TENSORIZED,
    TTConv2d,
    rank_bounds,
    why_not_tensorized,
)

__all__ = [
    "FACTORS",
    "TENSORIZED",
    "TTConv2d",
    "near_equal_factors",
    "rank_bounds",
    "why_not_tensorized",
]
