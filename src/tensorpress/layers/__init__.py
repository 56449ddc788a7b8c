"""One layer and its factors: a chain of plain convolutions (or linears) that computes the same."""

from tensorpress.layers.chain import Factorized, Link, build_chain, chain_cost, plan_chain
from tensorpress.layers.data_aware import DataAwareLayer, shifted_kernels, ttpwt_data_aware
from tensorpress.layers.eligible import Layer, is_convolution, refuse_unreadable, why_not
from tensorpress.layers.factorize import (
    METHODS,
    Factorization,
    factorize,
    factorize_layer,
    require_method,
)

__all__ = [
    "METHODS",
    "DataAwareLayer",
    "Factorization",
    "Factorized",
    "Layer",
    "Link",
    "build_chain",
    "chain_cost",
    "factorize",
    "factorize_layer",
    "is_convolution",
    "plan_chain",
    "refuse_unreadable",
    "require_method",
    "shifted_kernels",
    "ttpwt_data_aware",
    "why_not",
]
