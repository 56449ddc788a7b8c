"""Make trained CNNs smaller and faster by tensor-train decomposition of their kernels (TTPWT)."""

import warnings
from typing import Any

from tensorpress import networks
from tensorpress.artifacts import load, restructure, save, structure
from tensorpress.compression import (
    Budget,
    Recovery,
    compress,
    compress_onnx,
    explore,
    prune,
    share_weights,
    tensorize,
)
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
from tensorpress.layers import TTConv2d, factorize, methods
from tensorpress.networks import load_weights
from tensorpress.surgery import count
from tensorpress.version import VERSION as __version__

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
    "compress_onnx",
    "count",
    "explore",
    "export",
    "factorize",
    "load",
    "load_weights",
    "methods",
    "networks",
    "plan",
    "prune",
    "restructure",
    "save",
    "share_weights",
    "structure",
    "tensorize",
    "tt_svd",
]

RENAMED = {"tensorise": "tensorize"}
"""Names of the version before this one, which go with the next."""


def __getattr__(name: str) -> Any:
    if name in RENAMED:
        warnings.warn(
            f"tensorpress.{name} is called {RENAMED[name]} now", DeprecationWarning, stacklevel=2
        )
        return globals()[RENAMED[name]]
    raise AttributeError(f"module 'tensorpress' has no attribute '{name}'")
