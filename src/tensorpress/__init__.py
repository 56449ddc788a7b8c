"""Make trained CNNs smaller and faster by tensor-train decomposition of their kernels (TTPWT)."""

from tensorpress import networks
from tensorpress.allocate import Budget
from tensorpress.api import compress
from tensorpress.artifacts import load, save
from tensorpress.calibrate import Recovery
from tensorpress.decompose import (
    VBMF,
    Energy,
    Ranks,
    RelativeError,
    SingularSum,
    TensorTrain,
    tt_svd,
)
from tensorpress.deploy import Plan, export, plan
from tensorpress.errors import TensorpressError
from tensorpress.exploration import explore
from tensorpress.layers import TTConv2d, factorize
from tensorpress.networks import load_weights
from tensorpress.pruning import prune
from tensorpress.surgery import count
from tensorpress.tensorisation import tensorise
from tensorpress.version import VERSION as __version__
from tensorpress.weight_sharing import share_weights

__all__ = [
    "VBMF",
    "Budget",
    "Energy",
    "Plan",
    "Ranks",
    "Recovery",
    "RelativeError",
    "SingularSum",
    "TTConv2d",
    "TensorTrain",
    "TensorpressError",
    "__version__",
    "compress",
    "count",
    "explore",
    "export",
    "factorize",
    "load",
    "load_weights",
    "networks",
    "plan",
    "prune",
    "save",
    "share_weights",
    "tensorise",
    "tt_svd",
]
