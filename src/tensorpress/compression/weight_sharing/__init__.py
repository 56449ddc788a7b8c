"""Weights shared by k-means: a codebook and indices in place of a kernel (Deep k-Means)."""

from tensorpress.compression.weight_sharing.kmeans import cluster_rows
from tensorpress.compression.weight_sharing.regulariser import KMeansRegulariser
from tensorpress.compression.weight_sharing.share import share_weights

__all__ = ["KMeansRegulariser", "cluster_rows", "share_weights"]
