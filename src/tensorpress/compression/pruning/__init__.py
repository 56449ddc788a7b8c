"""Pruning: whole filters are taken out of a network, by one of several criteria, to a budget."""

from tensorpress.compression.pruning.criteria import CRITERIA, Criterion
from tensorpress.compression.pruning.prune import prune

__all__ = ["CRITERIA", "Criterion", "prune"]
