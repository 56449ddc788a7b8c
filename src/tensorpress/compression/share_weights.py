"""Share the weights of a network's convolutions by k-means (Wu et al., 2018)."""

from collections.abc import Iterable, Mapping

from torch import nn

from tensorpress.compression.compress import compress
from tensorpress.compression.selection import rules_from
from tensorpress.decompose import Ranks
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers.methods import DeepKMeans
from tensorpress.request.budget import Budget
from tensorpress.surgery import Account, ExampleInputs, Selector


def share_weights(
    net: nn.Module,
    example_inputs: ExampleInputs,
    *,
    clusters: int | Mapping[str, int] | None = None,
    budget: Budget | None = None,
    include: Iterable[Selector] | None = None,
    exclude: Iterable[Selector] = (),
    skip_first: bool = True,
    seed: int = 0,
    progress: bool | None = None,
) -> Account:
    """A copy of ``net`` whose kernels are stored as codebooks and indices: Deep k-Means.

    After Wu et al., "Deep k-Means: Re-training and parameter sharing with harder cluster
    assignments for compressing deep convolutions" (2018). The rows of each kernel, what it holds
    along its last axis, are put into clusters by k-means, and each row becomes its cluster's mean.
    Fine-tuning then moves the means; the assignment stays. Layers stay convolutions, with a
    parametrised weight: ``torch.nn.utils.parametrize.remove_parametrizations`` makes it plain.
    `compress` does the same with ``method="deep-k-means"`` and ``rank=Ranks(clusters)``.

    Parameters are counted as they would be stored: K entries, and ceil(log2 K) bits for the index
    of each row, 32 bits being a parameter. No MACs are saved: FCR is 1. The paper's Huffman code
    of the indices is left out, and so is its training with a regulariser before the clustering,
    which `tensorpress.compression.KMeansRegulariser` is for.

    Args:
        net: any trained module. It is not changed.
        example_inputs: as for `compress`.
        clusters: K for every layer, or a mapping from layer names or patterns to K.
        budget: instead of ``clusters``, a PCR to reach: the clusters are then one share of each
            layer's rows, the largest that reaches it.
        include, exclude, skip_first, progress: as for `compress`.
        seed: of the starts of k-means.

    Returns:
        the account; the ranks in it are the clusters.

    Raises:
        TensorpressError: a budget of MACs or time, or one that cannot be reached; clusters below 1;
            a selector that fits nothing; hooks or parametrisations; scikit-learn is not installed.

    >>> import torch
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3))
    >>> result = share_weights(net, torch.zeros(1, 3, 9, 9), clusters=32)
    >>> result.layers[1].params_after                # 32 * 3 + 768 * 5 / 32 + a bias of 16
    232
    """
    if (clusters is None) == (budget is None):
        raise TensorpressError(
            "give either clusters=, such as clusters=256, or budget=, such as budget=Budget(params"
            "=2)."
        )
    return compress(
        net,
        example_inputs,
        method=DeepKMeans(seed),
        rank=rules_from(clusters, _rule),
        budget=budget,
        include=include,
        exclude=exclude,
        skip_first=skip_first,
        progress=progress,
    )


def _rule(clusters: object) -> Ranks:
    if isinstance(clusters, bool) or not isinstance(clusters, int) or clusters < 1:
        raise TensorpressError(f"clusters={shown(clusters)}: give a whole number from 1 on.")
    return Ranks(clusters)
