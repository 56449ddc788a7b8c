"""Tensor decompositions: a tensor and a rank rule in, factors out. Knows no modules."""

from tensorpress.decompose.balance import balance
from tensorpress.decompose.common_ranks import tt_svd_common
from tensorpress.decompose.data_aware import DataAware, DataAwareTrain, data_aware_tt
from tensorpress.decompose.magnitude import largest_magnitude
from tensorpress.decompose.ranks import Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.decompose.tensor_train import TensorTrain, contract, tt_svd

__all__ = [
    "DataAware",
    "DataAwareTrain",
    "Energy",
    "RankRule",
    "Ranks",
    "RelativeError",
    "SingularSum",
    "TensorTrain",
    "balance",
    "contract",
    "data_aware_tt",
    "largest_magnitude",
    "tt_svd",
    "tt_svd_common",
]
