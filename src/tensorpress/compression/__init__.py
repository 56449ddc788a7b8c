"""A trained network in, a smaller one and the account of it out."""

from tensorpress.compression.budget import Budget
from tensorpress.compression.calibration import Recovery
from tensorpress.compression.compress import compress
from tensorpress.compression.exploration import explore
from tensorpress.compression.pruning import prune
from tensorpress.compression.request import Request
from tensorpress.compression.tensorization import tensorize
from tensorpress.compression.weight_sharing import share_weights

__all__ = [
    "Budget",
    "Recovery",
    "Request",
    "compress",
    "explore",
    "prune",
    "share_weights",
    "tensorize",
]
