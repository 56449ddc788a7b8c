"""One layer and its factors: a chain of plain convolutions (or linears) that computes the same."""

from tensorpress.layers.blocks import Blocks
from tensorpress.layers.chain import Factorized
from tensorpress.layers.eligible import Layer, is_convolution, refuse_unreadable, why_not
from tensorpress.layers.factorize import factorize, factorize_layer, find_method, prepare_layer
from tensorpress.layers.kernels import shifted_kernels
from tensorpress.layers.memory_format import channels_last
from tensorpress.layers.merge import (
    CONVOLUTIONS,
    can_merge,
    merge,
    plain_chain,
    works_along,
)
from tensorpress.layers.methods import METHODS, Factorization, Fitter, Method
from tensorpress.layers.tensorized import TENSORIZED, TTConv2d

__all__ = [
    "CONVOLUTIONS",
    "METHODS",
    "TENSORIZED",
    "Blocks",
    "Factorization",
    "Factorized",
    "Fitter",
    "Layer",
    "Method",
    "TTConv2d",
    "can_merge",
    "channels_last",
    "factorize",
    "factorize_layer",
    "find_method",
    "is_convolution",
    "merge",
    "plain_chain",
    "prepare_layer",
    "refuse_unreadable",
    "shifted_kernels",
    "why_not",
    "works_along",
]
