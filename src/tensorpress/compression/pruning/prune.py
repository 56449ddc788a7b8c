"""Filters taken out of a network until it meets a budget, and the account of it."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from tensorpress.compression.accounting import Told, account_of
from tensorpress.compression.bisection import largest_step
from tensorpress.compression.pruning.coupling import RANKS, Coupled, Selection, coupled_channels
from tensorpress.compression.pruning.criteria import (
    Criterion,
    Given,
    Scores,
    find_criterion,
    refuse_idle_images,
    refuse_without_images,
)
from tensorpress.compression.pruning.removal import differentiable, separable, without
from tensorpress.compression.pruning.rows import removed_channels, tell_removed
from tensorpress.compression.pruning.stand_ins import is_recurrent, stays_whole, with_stand_ins
from tensorpress.compression.selection import refuse_quantised
from tensorpress.errors import TensorpressError, refuse_no_flag, refuse_no_seed, shown
from tensorpress.graphs import GraphNetwork
from tensorpress.layers import DECOMPOSITIONS, Factorized, TTConv2d, is_convolution, why_not
from tensorpress.layers.chain_widths import may_narrow
from tensorpress.layers.folding import is_foldable
from tensorpress.layers.kinds import is_linear, is_transposed
from tensorpress.layers.padded import Padded
from tensorpress.request.budget import Budget
from tensorpress.request.request import Request
from tensorpress.rows import CalibrationImages, Samples, read_rows
from tensorpress.surgery import (
    Account,
    Cost,
    ExampleInputs,
    Selector,
    Survey,
    SurveyedLayer,
    count,
    keep_reasons,
    list_selectors,
    refuse_damaged,
    refuse_without_values,
    survey,
)
from tensorpress.surgery.plainly import plainly

INSEPARABLE = "without its filters others would compute something else"
PARAMETRISED = "parametrised: prune tensorpress.surgery.fold_parametrizations(net), which is plain"
RECURRENT = "a recurrent layer, which stays whole"
LINEAR = "linear layer (linear=True prunes it)"
ASKED = ("excluded", "not included", "first convolution (skip_first)")

Queue = list[tuple[Coupled, int]]
"""Units in the order in which they go."""


@plainly
def prune(
    net: nn.Module,
    example_inputs: ExampleInputs,
    *,
    method: str | Criterion = "l1",
    budget: Budget,
    images: CalibrationImages | Samples | None = None,
    labels: Tensor | None = None,
    include: Iterable[Selector] | None = None,
    exclude: Iterable[Selector] = (),
    skip_first: bool = False,
    linear: bool = False,
    seed: int = 0,
) -> Account:
    """Prune a trained network: whole filters are taken out of a copy of it, the least first.

    What the filters wrote goes from every layer that passes it on or reads it: Torch-Pruning finds
    which (Fang et al., *DepGraph: towards any structural pruning*, 2023). What is taken out is
    checked on random inputs: the pruned network has to give what the network gives where nothing
    reads those channels. Where it does not, as with the padded shortcuts of the paper's ResNets,
    the channels stay. The network's outputs stay too. As few filters go as the budget lets, which
    is found by bisection over the order in which they go.

    The criteria weigh filters in one shot, without the training that some papers put around them:

    - "l1", the sum of a filter's absolute weights (PFEC: Li et al., *Pruning filters for efficient
      ConvNets*, 2017).
    - "sfp", its Euclidean norm (He et al., *Soft filter pruning for accelerating deep convolutional
      neural networks*, 2018). That paper trains on with the filters at zero and chooses them anew
      after each epoch; this is its criterion alone.
    - "fpgm", the sum of its distances to the layer's other filters (He et al., *Filter pruning via
      geometric median for deep convolutional neural networks acceleration*, 2019).
    - "bn-scale", the scale of its batch norm (Liu et al., *Learning efficient convolutional
      networks through network slimming*, 2017), which there was trained to be sparse.
    - "taylor", the squared change of the loss without it, to first order (Molchanov et al.,
      *Importance estimation for neural network pruning*, 2019).
    - "random", for what the others are worth.

    "bn-scale" and "taylor" rank the filters of the whole network together; the others take the same
    share of every layer, to within one filter. Each layer keeps at least one.

    Args:
        net: any module. It is not changed. A layer that is decomposed already may lose channels
            that it takes or gives; its ranks stay, and its filters are those of its last factor.
            Tensorized and recurrent layers stay whole, and so do chains whose factors depend on how
            many channels there are.
        example_inputs: as for :func:`compress`; one image gives MACs per image.
        method: the criterion.
        budget: ``params=`` and ``macs=``; time cannot be asked for.
        images: for "taylor" alone, a few hundred, as :func:`compress` takes them to calibrate on.
        labels: their classes, (N,), for "taylor"; without them the class that the network itself
            answers.
        include: prune these layers only: names, patterns such as "layer1.*", or modules. A layer
            whose channels are tied to another's goes with it, so both have to be named.
        exclude: leave all filters of these.
        skip_first: leave all filters of the first convolution, as `compress` does by default.
        linear: also prune the outputs of linear layers.
        seed: of "random".

    Returns:
        the account, as :func:`compress` gives it. A layer's decision says how many of its filters
        stayed; kernels are given as they were. Files of the network tell which layers are narrower,
        so that :func:`load` takes it into a network that was not pruned.

    Raises:
        TensorpressError: Torch-Pruning is not installed or cannot follow the network, no such
            criterion or nothing that it could weigh, a network that does not run on the example
            inputs, NaN or inf in a weight, a selector that fits nothing, a budget that cannot be
            reached.

    >>> import torch
    >>> from tensorpress import Budget, prune
    >>> net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 8, 3))
    >>> result = prune(net, torch.zeros(1, 3, 16, 16), budget=Budget(macs=2))
    >>> print(result.layers[0].decision)
    l1: 8 of 16 filters
    """
    criterion = find_criterion(method)
    refuse_unpruned(budget)
    refuse_idle_images(criterion, images=images, labels=labels)
    refuse_without_images(criterion, given=images is not None)
    if isinstance(net, GraphNetwork):
        raise TensorpressError(
            "the network is a file of ONNX, of which layers can be replaced, and no channels taken "
            "out of what stands between them: give a decomposition, or prune the network of "
            "PyTorch that it was exported from."
        )
    refuse_no_flag(skip_first=skip_first, linear=linear)
    refuse_no_seed(seed)
    if images is not None and not isinstance(images, Samples):
        images = read_rows(images, net, example_inputs)
    include = None if include is None else list_selectors(include)
    exclude = list_selectors(exclude)
    found = find_prunable(
        net, example_inputs, include=include, exclude=exclude, skip_first=skip_first, linear=linear
    )
    surveyed, kept, reasons = found.surveyed, found.kept, found.reasons
    scores = criterion.score(net, found.groups, Given(images, labels, seed))
    reasons |= {coupled: criterion.left for coupled in found.groups if coupled not in scores}
    queue = order(scores, across=criterion.across)
    selection = _fewest(net, example_inputs, queue, surveyed.cost, budget)
    model = without(net, selection)
    removed = removed_channels(selection)
    told = told_of(reasons)
    request = Request.of(
        method=criterion.name,
        budget=budget,
        include=include,
        exclude=exclude,
        skip_first=skip_first,
        linear=linear,
        seed=seed,
        settings={"images": 0 if images is None else len(images), "labels": labels is not None},
    ).to_dict()

    def tell(layer: SurveyedLayer) -> Told:
        reason = kept.get(layer.name) or told.get(layer.name)
        return tell_removed(layer, removed, criterion.name, reason)

    return account_of(model, example_inputs, surveyed, tell, request, net)


@dataclasses.dataclass(frozen=True)
class Prunable:
    """What may be pruned of a network.

    Attributes:
        surveyed: the network.
        groups: of channels that may go together.
        reasons: why the channels of others stay; None of those that may go.
        kept: why layers stay, by name.
    """

    surveyed: Survey
    groups: list[Coupled]
    reasons: dict[Coupled, str | None]
    kept: dict[str, str]


def find_prunable(
    net: nn.Module,
    example_inputs: ExampleInputs,
    *,
    include: list[Selector] | None,
    exclude: list[Selector],
    skip_first: bool,
    linear: bool,
) -> Prunable:
    """Survey the network and couple its channels.

    Raises:
        TensorpressError: nothing of it may be pruned; the message says why.
    """
    surveyed = survey(net, example_inputs)
    _refuse_unusable(net, surveyed)
    kept = _kept_layers(net, surveyed, include, exclude, skip_first)
    kept |= {name: RECURRENT for name, module in net.named_modules() if is_recurrent(module)}
    groups = coupled_channels(with_stand_ins(differentiable(net), example_inputs), example_inputs)
    reasons = {coupled: _obstacle(net, coupled, kept, linear=linear) for coupled in groups}
    free = [coupled for coupled, reason in reasons.items() if reason is None]
    sound = separable(net, example_inputs, free)
    reasons |= {coupled: INSEPARABLE for coupled in free if coupled not in sound}
    if not sound:
        raise TensorpressError(f"no filter of the network may be pruned: {_first_reason(reasons)}.")
    return Prunable(surveyed, sound, reasons, kept)


def told_of(reasons: Mapping[Coupled, str | None]) -> dict[str, str | None]:
    """What is told of the layers whose channels these are; None where they may go."""
    return {
        member.part_of: reason
        for coupled, reason in reasons.items()
        for member in coupled.members
        if member.role != "reads" and reason != RANKS
    }


def order(scores: Scores, *, across: bool) -> Queue:
    """The units in the order in which they go; the best of each group never does.

    Not ``across`` the network, a unit goes when the share of its group's that are gone reaches its
    own place among them, so that all groups give the same share.
    """
    queue: list[tuple[float, int, int, Coupled, int]] = []
    for number, (coupled, values) in enumerate(scores.items()):
        for place, unit in enumerate(values.argsort(stable=True).tolist()[:-1], 1):
            key = float(values[unit]) if across else place / coupled.units
            queue.append((key, number, place, coupled, unit))
    return [(coupled, unit) for *_, coupled, unit in sorted(queue, key=lambda entry: entry[:3])]


def _fewest(
    net: nn.Module, example_inputs: ExampleInputs, queue: Queue, cost: Cost, budget: Budget
) -> Selection:
    """The shortest beginning of the queue without which the network meets the budget."""

    def ratios(length: int) -> tuple[float, float]:
        left = count(without(net, _selected(queue[:length])), example_inputs)
        return cost.params / left.params, cost.macs / left.macs if left.macs else math.inf

    if budget.is_met(1.0, 1.0):
        return {}
    left = largest_step(lambda stay: budget.is_met(*ratios(len(queue) - stay)), len(queue))
    if left is None:
        pcr, fcr = ratios(len(queue))
        raise TensorpressError(
            f"{budget} cannot be reached by pruning: with one filter left wherever filters may go, "
            f"PCR is {pcr:.2f} and FCR {fcr:.2f}. Ask for less, or exclude fewer layers."
        )
    return _selected(queue[: len(queue) - left])


def _selected(queue: Queue) -> Selection:
    selection: dict[Coupled, list[int]] = {}
    for coupled, unit in queue:
        selection.setdefault(coupled, []).append(unit)
    return dict(selection)


def refuse_unpruned(budget: object) -> None:
    """Raise for a budget that no pruning is done to.

    Raises:
        TensorpressError: it says what to ask for.
    """
    if not isinstance(budget, Budget):
        raise TensorpressError(f"budget={shown(budget)}: give a Budget, such as Budget(macs=2).")
    if budget.is_timed or budget.of_quality:
        raise TensorpressError(
            f"{budget}: pruning reaches ratios, not times or qualities; ask for params= or macs=, "
            "as in Budget(macs=2)."
        )


def _refuse_unusable(net: nn.Module, surveyed: Survey) -> None:
    refuse_quantised(net)
    refuse_without_values(net)
    if not surveyed.layers:
        raise TensorpressError("the network has no convolution, so nothing to prune.")
    refuse_damaged(net)


def _kept_layers(
    net: nn.Module,
    surveyed: Survey,
    include: list[Selector] | None,
    exclude: list[Selector],
    skip_first: bool,
) -> dict[str, str]:
    """Why layers may not be changed, by name."""
    free = [
        dataclasses.replace(
            layer, obstacle=None if _may_lose_channels(layer) else _obstacle_of(layer)
        )
        for layer in surveyed.layers
    ]
    reasons = keep_reasons(
        net,
        Survey(tuple(free), surveyed.cost),
        include=include,
        exclude=exclude,
        skip_first=skip_first,
        skip_output=False,
        linear=True,
    )
    own = {layer.name: why for layer in free if (why := _why_whole(layer.module)) is not None}
    return reasons | own


def _may_lose_channels(layer: SurveyedLayer) -> bool:
    """Whether a layer that cannot be decomposed, or is already, can still get narrower."""
    module: Any = layer.module
    if isinstance(module, Factorized):
        return bool(layer.cost.inputs)
    one_a_group = is_convolution(module) and module.groups == module.in_channels > 1
    return one_a_group or is_transposed(module)


def _obstacle_of(layer: SurveyedLayer) -> str | None:
    """Why it is not treated; a subclass stays what it is, with what it does around its weight."""
    return layer.obstacle if layer.apart is None else why_not(layer.module)


def _why_whole(module: Any) -> str | None:
    if isinstance(module, Padded):
        return "padding of its own stands before it"
    if isinstance(module, Factorized):
        if stays_whole(module):
            return f"decomposed in blocks of channels ({module.method})"
        whole = f"its factors depend on how many channels there are ({module.method})"
        if module.method not in DECOMPOSITIONS:
            whole = f"a chain of '{module.method}', which is not a method of tensorpress"
        return None if may_narrow(module) else whole
    if isinstance(module, TTConv2d):
        return f"already tensorized ({module.method})"
    if parametrize.is_parametrized(module) or "weight" not in module._parameters:
        return PARAMETRISED if is_foldable(module) else "parametrised"
    if is_transposed(module) and module.groups > 1:
        return "transposed convolution with groups"
    return None


def _obstacle(
    net: nn.Module, coupled: Coupled, kept: dict[str, str], *, linear: bool
) -> str | None:
    """Why coupled channels stay, as far as it can be told without a look at what they do."""
    if coupled.obstacle not in (None, RANKS):
        return coupled.obstacle
    writers = coupled.of_role("writes")
    if not writers:
        return "depthwise, on channels that no layer writes"
    for member in coupled.members:
        # A layer whose own filters were asked to stay may still read or pass fewer channels.
        why = kept.get(member.part_of)
        if why is not None and not (why in ASKED and member.role != "writes"):
            return f"tied to '{member.part_of}' ({why})"
    if coupled.obstacle is not None:
        return coupled.obstacle
    if not linear and all(is_linear(net.get_submodule(m.layer)) for m in writers):
        return LINEAR
    return "a single filter, or one a group" if coupled.units < 2 else None


def _first_reason(reasons: Mapping[Coupled, str | None]) -> str:
    for coupled, reason in reasons.items():
        for member in coupled.of_role("writes"):
            if reason != RANKS:
                return f"'{member.part_of}': {reason}"
    return "its convolutions are depthwise"
