"""A trained network in, a smaller one and the account of it out."""

from tensorpress.compression.budget import Budget
from tensorpress.compression.calibration import Recovery
from tensorpress.compression.compress import compress
from tensorpress.compression.compress_onnx import GraphAccount, compress_onnx
from tensorpress.compression.explore import explore
from tensorpress.compression.k_means_loss import KMeansRegulariser
from tensorpress.compression.pruning import CRITERIA
from tensorpress.compression.pruning.prune import prune
from tensorpress.compression.request import Request
from tensorpress.compression.share_weights import share_weights
from tensorpress.compression.tensorize import tensorize

__all__ = [
    "CRITERIA",
    "Budget",
    "GraphAccount",
    "KMeansRegulariser",
    "Recovery",
    "Request",
    "compress",
    "compress_onnx",
    "explore",
    "prune",
    "share_weights",
    "tensorize",
]
