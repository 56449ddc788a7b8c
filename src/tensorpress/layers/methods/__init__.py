"""The ways to treat a layer, by name; each is one file, and one line in METHODS."""

from torch import nn

from tensorpress.choices import AUTO
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers.kinds import Layer, group_channels, kernel_size
from tensorpress.layers.layout import BlockLayout, Layout, Sublayer, spatial_axes
from tensorpress.layers.methods.channel_svd import ChannelSVD
from tensorpress.layers.methods.cp import CPMethod
from tensorpress.layers.methods.decomposition import Decomposition, Factorization
from tensorpress.layers.methods.deep_k_means import DeepKMeans
from tensorpress.layers.methods.depthwise_separable import DepthwiseSeparable
from tensorpress.layers.methods.hierarchical_tucker import HierarchicalTuckerMethod
from tensorpress.layers.methods.input_svd import InputSVD
from tensorpress.layers.methods.kronecker import Kronecker
from tensorpress.layers.methods.spatial_svd import SpatialSVD
from tensorpress.layers.methods.tensor_ring import TensorRingMethod
from tensorpress.layers.methods.three_part import PointwiseSpatial, SpatialPointwise
from tensorpress.layers.methods.train import AxisTrain, Link, TrainDecomposition
from tensorpress.layers.methods.tt import TT
from tensorpress.layers.methods.tt_conv import TTConv
from tensorpress.layers.methods.ttpwt import TTPWT
from tensorpress.layers.methods.tucker2 import Tucker2
from tensorpress.layers.treatment import KERNEL, Fit, Fitter, Metric, Replacement, Treatment

METHODS: dict[str, Treatment] = {
    method.name: method
    for method in (
        TTPWT(),
        TTPWT(reverse=True),
        PointwiseSpatial(),
        PointwiseSpatial(reverse=True),
        SpatialPointwise(),
        SpatialPointwise(reverse=True),
        SpatialSVD(),
        SpatialSVD(reverse=True),
        Tucker2(),
        ChannelSVD(),
        InputSVD(),
        DepthwiseSeparable(),
        CPMethod(),
        Kronecker(),
        TT(),
        TensorRingMethod(),
        HierarchicalTuckerMethod(),
        DeepKMeans(),
        TTConv(),
        TTConv(naive=True),
    )
}
DECOMPOSITIONS = {name: m for name, m in METHODS.items() if isinstance(m, Decomposition)}

FORMS = tuple(name for name, m in DECOMPOSITIONS.items() if m.data_aware)
"""The methods that "auto" chooses from: those that know what a layer is fed."""


def find_method(method: str | Treatment) -> Treatment:
    """The treatment of this name, or the object that was given in its place.

    Raises:
        TensorpressError: there is none of that name, or an object of one's own has the name of a
            built-in one.
    """
    if isinstance(method, Treatment):
        if not isinstance(getattr(method, "name", None), str) or not (
            method.name.strip() and method.name.isprintable()
        ):
            raise TensorpressError(
                f"{type(method).__name__} has no name: give it one, by which files and accounts "
                "can tell it."
            )
        built_in = METHODS.get(method.name)
        if built_in is not None and type(built_in) is not type(method):
            raise TensorpressError(
                f"{type(method).__name__} has the name '{method.name}', which is that of a method "
                "of tensorpress: give it another, by which files and accounts can tell it."
            )
        return method
    if not isinstance(method, str):
        raise TensorpressError(
            f"method={shown(method)}: give a name, such as 'ttpwt', or an object, such as "
            "tensorpress.methods.TTPWT()."
        )
    if method not in METHODS:
        raise TensorpressError(
            f"there is no method {shown(method)}; there is: {', '.join(sorted(METHODS))}."
        )
    return METHODS[method]


def treated_by(module: nn.Module) -> str | None:
    """The name of the treatment that made ``module``; None for a layer as it was."""
    if isinstance(module, Replacement):
        return module.method
    found = (name for name, m in METHODS.items() if m.stored_ranks(module) is not None)
    return next(found, None)


__all__ = [
    "AUTO",
    "DECOMPOSITIONS",
    "FORMS",
    "KERNEL",
    "METHODS",
    "TT",
    "TTPWT",
    "AxisTrain",
    "BlockLayout",
    "CPMethod",
    "ChannelSVD",
    "Decomposition",
    "DeepKMeans",
    "DepthwiseSeparable",
    "Factorization",
    "Fit",
    "Fitter",
    "HierarchicalTuckerMethod",
    "InputSVD",
    "Kronecker",
    "Layer",
    "Layout",
    "Link",
    "Metric",
    "PointwiseSpatial",
    "SpatialPointwise",
    "SpatialSVD",
    "Sublayer",
    "TTConv",
    "TensorRingMethod",
    "TrainDecomposition",
    "Treatment",
    "Tucker2",
    "find_method",
    "group_channels",
    "kernel_size",
    "spatial_axes",
    "treated_by",
]
