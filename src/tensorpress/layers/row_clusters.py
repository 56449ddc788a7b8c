"""k-means over the rows of a kernel."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tensorpress.errors import TensorpressError, refuse_no_seed, shown

ITERATIONS = 50
GREEDY = 512
"""Up to so many clusters the start tries several rows for each; of thousands that takes minutes."""


def cluster_rows(rows: Tensor, clusters: int, *, seed: int = 0) -> tuple[Tensor, int]:
    """Put rows into clusters of small distance to their means: Lloyd's steps from k-means++.

    Where there are no more distinct rows than clusters, each of them is a cluster.

    Args:
        rows: (N, s), finite.
        clusters: the most clusters to make.
        seed: of the start.

    Returns:
        the cluster of each row, (N,) int64 on the CPU, and how many clusters there are.

    Raises:
        TensorpressError: fewer than one cluster, no seed, or scikit-learn is not installed.
    """
    if isinstance(clusters, bool) or not isinstance(clusters, int) or clusters < 1:
        raise TensorpressError(f"clusters={shown(clusters)}: give a whole number from 1 on.")
    refuse_no_seed(seed)
    values = _values(rows)
    distinct, found = np.unique(values, axis=0, return_inverse=True)
    if clusters >= len(distinct):
        return torch.from_numpy(found.reshape(-1).astype(np.int64)), len(distinct)
    try:
        from sklearn.cluster import KMeans, kmeans_plusplus
    except ImportError as error:
        raise TensorpressError(
            "sharing weights needs scikit-learn: pip install 'tensorpress[train]'"
        ) from error
    # At unit scale, since its tolerance and its sums are in float32.
    scaled = values / np.abs(values).max()
    trials = None if clusters <= GREEDY else 1
    drawn = seed % 2**32  # scikit-learn takes none beyond
    start, _ = kmeans_plusplus(scaled, clusters, random_state=drawn, n_local_trials=trials)
    made = KMeans(clusters, init=start, n_init=1, max_iter=ITERATIONS).fit(scaled)
    return torch.from_numpy(made.labels_.astype(np.int64)), clusters


def distinct_rows(rows: Tensor) -> int:
    """How many different rows there are, the most clusters that can be made of them."""
    return len(np.unique(_values(rows), axis=0))


def _values(rows: Tensor) -> NDArray[np.float32]:
    values: NDArray[np.float32] = rows.detach().cpu().to(torch.float32).numpy()
    return values
