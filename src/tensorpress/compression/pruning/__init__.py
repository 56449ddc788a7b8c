"""Pruning: whole filters are taken out of a network, by one of several criteria, to a budget."""

from tensorpress.compression.pruning.criteria import CRITERIA, Criterion

__all__ = ["CRITERIA", "Criterion"]
