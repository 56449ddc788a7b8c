"""Layers that are tensor trains from the start, and are trained as such."""

from tensorpress.layers.tensorised.factors import near_equal_factors
from tensorpress.layers.tensorised.tt_conv import (
    FACTORS,
    TENSORISED,
    TTConv2d,
    rank_bounds,
    why_not_tensorised,
)

__all__ = [
    "FACTORS",
    "TENSORISED",
    "TTConv2d",
    "near_equal_factors",
    "rank_bounds",
    "why_not_tensorised",
]
