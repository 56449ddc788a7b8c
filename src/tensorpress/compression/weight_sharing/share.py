"""Share the weights of a network's convolutions by k-means (Wu et al., 2018)."""

import math
from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor, nn

from tensorpress.compression.budget import Budget
from tensorpress.compression.request import Request
from tensorpress.compression.weight_sharing.kmeans import cluster_rows
from tensorpress.decompose import relative_error
from tensorpress.errors import TensorpressError
from tensorpress.layers import refuse_unreadable
from tensorpress.layers.shared_weight import PARAMETER_BITS, SHARED, index_bits, share
from tensorpress.progress import track
from tensorpress.surgery import (
    Account,
    Cost,
    ExampleInputs,
    LayerRow,
    Selector,
    SurveyedLayer,
    copy_with,
    count,
    keep_reasons,
    list_selectors,
    match_patterns,
    survey,
)

HALVINGS = 40


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

    Parameters are counted as they would be stored: K entries, and ceil(log2 K) bits for the index
    of each row, 32 bits being a parameter. No MACs are saved: FCR is 1. The paper's Huffman code
    of the indices is left out, and so is its training with a regulariser before the clustering,
    which `tensorpress.compression.weight_sharing.KMeansRegulariser` is for.

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
    _refuse_budget(budget)
    include = None if include is None else list_selectors(include)
    exclude = list_selectors(exclude)
    surveyed = survey(net, example_inputs)
    reasons = keep_reasons(
        net, surveyed, include=include, exclude=exclude, skip_first=skip_first, linear=False
    )
    layers = [layer for layer in surveyed.layers if layer.name not in reasons]
    for layer in layers:
        refuse_unreadable(layer.name, layer.module)
    if budget is not None:
        wanted = _clusters_within(layers, surveyed.cost, budget)
    else:
        assert clusters is not None
        patterns = clusters if isinstance(clusters, Mapping) else {"*": clusters}
        names = [layer.name for layer in layers]
        wanted = match_patterns(net, names, patterns, "clusters pattern", reasons)

    model = copy_with(net, {})
    modules = dict(model.named_modules())
    made: dict[str, int] = {}
    for layer in track([s for s in layers if s.name in wanted], "clustering", show=progress):
        indices, number = _clustered(layer, wanted[layer.name], seed)
        if _stored(layer, number) < layer.cost.params:
            share(modules[layer.name], indices, number)
            made[layer.name] = number
        else:
            reasons[layer.name] = f"would not get smaller ({number} clusters)"
    after = count(model, example_inputs)

    def row(layer: SurveyedLayer) -> LayerRow:
        costs = layer.cost, after.layers[layer.name]
        if layer.name not in made:
            reason = reasons.get(layer.name, "no clusters pattern fits its name")
            return LayerRow.of(layer.name, layer.module, costs, f"kept: {reason}")
        error = relative_error(_weight(layer.module), _weight(modules[layer.name]))
        return LayerRow.of(
            layer.name,
            layer.module,
            costs,
            f"{SHARED} (saves no MACs)",
            ranks=(made[layer.name],),
            fit=(max(0.0, 1.0 - error**2), error),
        )

    request = Request.of(
        method=SHARED,
        budget=budget,
        include=include,
        exclude=exclude,
        skip_first=skip_first,
        seed=seed,
        settings={} if clusters is None else {"clusters": clusters},
    ).to_dict()
    before = surveyed.cost
    rows = tuple(map(row, surveyed.layers))
    return Account(model, rows, before.params, after.params, before.macs, after.macs, request)


def _refuse_budget(budget: object) -> None:
    if budget is None:
        return
    if not isinstance(budget, Budget):
        raise TensorpressError(f"budget={budget!r}: give a Budget, such as Budget(params=2).")
    if budget.is_timed or budget.macs is not None:
        raise TensorpressError(
            f"{budget}: shared weights save no MACs and no time; give Budget(params=2) alone."
        )


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().double()


def _rows(layer: SurveyedLayer) -> Tensor:
    weight = _weight(layer.module)
    return weight.reshape(-1, weight.shape[-1])


def _clustered(layer: SurveyedLayer, clusters: int, seed: int) -> tuple[Tensor, int]:
    try:
        return cluster_rows(_rows(layer), clusters, seed=seed)
    except TensorpressError as error:
        raise TensorpressError(f"layer '{layer.name}': {error}") from error


def _stored(layer: SurveyedLayer, clusters: int) -> int:
    """Parameters of a layer with so many clusters, its bias included, as they would be stored."""
    count, size = _rows(layer).shape
    bias = layer.cost.params - count * size
    return bias + clusters * size + math.ceil(count * index_bits(clusters) / PARAMETER_BITS)


def _clusters_within(layers: Sequence[SurveyedLayer], cost: Cost, budget: Budget) -> dict[str, int]:
    """Clusters by layer: the largest common share of the rows that reaches the budget."""

    def at(share_of_rows: float) -> dict[str, int]:
        return {s.name: max(1, int(share_of_rows * len(_rows(s)))) for s in layers}

    def pcr(clusters: Mapping[str, int]) -> float:
        saved = sum(max(0, s.cost.params - _stored(s, clusters[s.name])) for s in layers)
        return cost.params / (cost.params - saved)

    low, high = 0.0, 1.0
    if not budget.is_met(pcr(at(low)), 1.0):
        raise TensorpressError(
            f"{budget} cannot be reached: with a single cluster in every layer PCR is "
            f"{pcr(at(low)):.2f}. Ask for less, or exclude fewer layers."
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if budget.is_met(pcr(at(middle)), 1.0) else (low, middle)
    return at(low)
