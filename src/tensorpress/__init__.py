"""Make trained CNNs smaller and faster by tensor-train decomposition of their kernels (TTPWT).

A name is imported when it is used: PyTorch takes seconds, and a command line that asks for the
version or for help needs none of it.
"""

import importlib
import importlib.util
import warnings
from typing import TYPE_CHECKING, Any

from tensorpress.errors import TensorpressError
from tensorpress.version import VERSION as __version__

if TYPE_CHECKING:
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
    from tensorpress.layers import TTConv2d, factorize, methods
    from tensorpress.networks import load_weights
    from tensorpress.surgery import count

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

NAMES_OF = {
    "artifacts": ("load", "restructure", "save", "structure"),
    "compression": (
        *("compress", "compress_onnx", "explore", "prune", "share_weights", "tensorize"),
        *("Budget", "Recovery"),
    ),
    "decompose": ("TensorTrain", "tt_svd"),
    "deploy": ("Plan", "export", "plan"),
    "layers": ("TTConv2d", "factorize", "methods"),
    "networks": ("load_weights",),
    "ranks": ("VBMF", "Energy", "Ranks", "RelativeError", "SingularSum"),
    "surgery": ("count",),
}
"""The packages that public names come from."""

RENAMED = {"tensorise": "tensorize"}
"""Names of the version before this one, which go with the next."""


def __getattr__(name: str) -> Any:
    if name in RENAMED:
        warnings.warn(
            f"tensorpress.{name} is called {RENAMED[name]} now", DeprecationWarning, stacklevel=2
        )
        return __getattr__(RENAMED[name])
    for package, names in NAMES_OF.items():
        if name in names:
            value = getattr(importlib.import_module(f"tensorpress.{package}"), name)
            globals()[name] = value
            return value
    if not name.startswith("_") and importlib.util.find_spec(f"tensorpress.{name}") is not None:
        return importlib.import_module(f"tensorpress.{name}")
    raise AttributeError(f"module 'tensorpress' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
