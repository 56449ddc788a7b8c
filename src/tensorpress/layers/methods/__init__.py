"""The methods of decomposition, by name; each is one file."""

from tensorpress.layers.methods.channel_svd import ChannelSVD
from tensorpress.layers.methods.cp import CPMethod
from tensorpress.layers.methods.hierarchical_tucker import HierarchicalTuckerMethod
from tensorpress.layers.methods.kronecker import Kronecker
from tensorpress.layers.methods.method import Factorization, Fitter, Method
from tensorpress.layers.methods.spatial_svd import SpatialSVD
from tensorpress.layers.methods.tensor_ring import TensorRingMethod
from tensorpress.layers.methods.tt import TT
from tensorpress.layers.methods.ttpwt import TTPWT
from tensorpress.layers.methods.tucker2 import Tucker2

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        TTPWT(),
        Tucker2(),
        CPMethod(),
        Kronecker(),
        TT(),
        TensorRingMethod(),
        HierarchicalTuckerMethod(),
        SpatialSVD(),
        ChannelSVD(),
    )
}

__all__ = ["METHODS", "Factorization", "Fitter", "Method"]
