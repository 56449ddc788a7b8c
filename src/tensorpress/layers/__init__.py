"""One layer and its factors: a chain of plain convolutions (or linears) that computes the same."""

from tensorpress.layers.blocks import Blocks
from tensorpress.layers.chain import Factorized
from tensorpress.layers.eligible import refuse_unreadable, why_not
from tensorpress.layers.factorize import factorize, factorize_layer, on_processor, prepare_layer
from tensorpress.layers.kernels import shifted_kernels
from tensorpress.layers.kinds import Layer, is_convolution
from tensorpress.layers.memory_format import arranged_like, channels_last, channels_second
from tensorpress.layers.merge import can_merge, merge, plain_chain
from tensorpress.layers.methods import DECOMPOSITIONS, METHODS, Factorization, find_method
from tensorpress.layers.tensorized import TENSORIZED, TTConv2d
from tensorpress.layers.treatment import Fit, Fitter, Metric, Replacement, Treatment

__all__ = [
    "DECOMPOSITIONS",
    "METHODS",
    "TENSORIZED",
    "Blocks",
    "Factorization",
    "Factorized",
    "Fit",
    "Fitter",
    "Layer",
    "Metric",
    "Replacement",
    "TTConv2d",
    "Treatment",
    "arranged_like",
    "can_merge",
    "channels_last",
    "channels_second",
    "factorize",
    "factorize_layer",
    "find_method",
    "is_convolution",
    "merge",
    "on_processor",
    "plain_chain",
    "prepare_layer",
    "refuse_unreadable",
    "shifted_kernels",
    "why_not",
]
