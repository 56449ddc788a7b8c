"""Tensor decompositions: a tensor and a rank rule in, factors out. Knows no modules."""

from tensorpress.decompose.balance import Bond, balance, balance_bonds
from tensorpress.decompose.checks import check_rule, relative_error
from tensorpress.decompose.common_ranks import tt_svd_common
from tensorpress.decompose.cp import CP, RankOneTerms, rank_of
from tensorpress.decompose.cp_als import sum_of_terms
from tensorpress.decompose.data_aware import DataAware, DataAwareTrain, data_aware_tt
from tensorpress.decompose.hierarchical_tucker import (
    HierarchicalTucker,
    contract_hierarchical,
    hierarchical_tucker,
    with_leaf,
)
from tensorpress.decompose.kronecker import (
    KroneckerSum,
    kronecker,
    kronecker_spectrum,
    kronecker_sum,
)
from tensorpress.decompose.magnitude import largest_magnitude
from tensorpress.decompose.tensor_ring import TensorRing, contract_ring, tensor_ring
from tensorpress.decompose.tensor_train import TensorTrain, contract, tt_svd
from tensorpress.decompose.tucker2 import HOOI, tucker2
from tensorpress.ranks import (
    RULES,
    VBMF,
    Energy,
    RankRule,
    Ranks,
    RankShare,
    RelativeError,
    SingularSum,
    rule_from_json,
    rule_to_json,
)

__all__ = [
    "CP",
    "HOOI",
    "RULES",
    "VBMF",
    "Bond",
    "DataAware",
    "DataAwareTrain",
    "Energy",
    "HierarchicalTucker",
    "KroneckerSum",
    "RankOneTerms",
    "RankRule",
    "RankShare",
    "Ranks",
    "RelativeError",
    "SingularSum",
    "TensorRing",
    "TensorTrain",
    "balance",
    "balance_bonds",
    "check_rule",
    "contract",
    "contract_hierarchical",
    "contract_ring",
    "data_aware_tt",
    "hierarchical_tucker",
    "kronecker",
    "kronecker_spectrum",
    "kronecker_sum",
    "largest_magnitude",
    "rank_of",
    "relative_error",
    "rule_from_json",
    "rule_to_json",
    "sum_of_terms",
    "tensor_ring",
    "tt_svd",
    "tt_svd_common",
    "tucker2",
    "with_leaf",
]
