"""A trained network in, a smaller one and the account of it out."""

from tensorpress.compression.compress import compress
from tensorpress.compression.compress_onnx import compress_onnx, foresee_onnx
from tensorpress.compression.explore import explore
from tensorpress.compression.foresee import Prospect, check_compression, foresee
from tensorpress.compression.graph.account import GraphAccount
from tensorpress.compression.k_means_loss import KMeansRegulariser
from tensorpress.compression.pruning import CRITERIA
from tensorpress.compression.pruning.prune import prune
from tensorpress.compression.share_weights import share_weights
from tensorpress.compression.tensorize import tensorize
from tensorpress.request import Budget, Recovery, Request

__all__ = [
    "CRITERIA",
    "Budget",
    "GraphAccount",
    "KMeansRegulariser",
    "Prospect",
    "Recovery",
    "Request",
    "check_compression",
    "compress",
    "compress_onnx",
    "explore",
    "foresee",
    "foresee_onnx",
    "prune",
    "share_weights",
    "tensorize",
]
