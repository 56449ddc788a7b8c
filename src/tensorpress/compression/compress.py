"""The public façade: survey, ranks, decomposition and surgery put together."""

import dataclasses
import math
from collections.abc import Iterable, Mapping

from torch import nn

from tensorpress.compression.budget import Budget
from tensorpress.compression.by_energy import measure_energies
from tensorpress.compression.by_loss import MeasuredLayer, ranks_by_loss
from tensorpress.compression.calibrated import Calibrated
from tensorpress.compression.calibration import (
    CalibrationImages,
    Recovery,
    read_images,
    read_recovery,
)
from tensorpress.compression.candidate import Candidate, Choice, fit_layer
from tensorpress.compression.request import Request
from tensorpress.compression.threshold import fit_budget
from tensorpress.compression.timed import ranks_in_time
from tensorpress.decompose import RankRule, Ranks, largest_magnitude
from tensorpress.errors import TensorpressError
from tensorpress.layers import Method, find_method
from tensorpress.progress import track
from tensorpress.surgery import (
    Account,
    Cost,
    ExampleInputs,
    LayerRow,
    Selector,
    Survey,
    SurveyedLayer,
    copy_with,
    count,
    keep_reasons,
    list_selectors,
    match_patterns,
    replace_layers,
    survey,
)

NO_RULE = "no rank rule fits its name"
NOT_NEEDED = "costs the answers more than it saves"


def compress(
    net: nn.Module,
    example_inputs: ExampleInputs,
    *,
    method: str = "ttpwt",
    rank: RankRule | Mapping[str, RankRule] | None = None,
    budget: Budget | None = None,
    round_to: int = 1,
    include: Iterable[Selector] | None = None,
    exclude: Iterable[Selector] = (),
    skip_first: bool = True,
    linear: bool = False,
    balance: bool = False,
    inplace: bool = False,
    calibration: CalibrationImages | None = None,
    recover: bool | Recovery = True,
    progress: bool | None = None,
) -> Account:
    """Compress a trained network: its layers become chains of small ones, made from their kernels.

    Every convolution but the first in order of execution is decomposed (section 4 of the paper).
    Depthwise and transposed convolutions stay, and so does a layer that would not get smaller in
    parameters and MACs; the account says which and why. dtype, device, train/eval mode and
    ``requires_grad`` are kept, and so is everything else of the network.

    With ``calibration`` images, a few hundred without labels, most of the accuracy is kept before
    any fine-tuning: kernels are decomposed under the metric of what their layers are fed, a budget
    is spread by what each layer does to the network's answers, each layer is fitted to the original
    with those before it compressed, batch norms take their statistics again, and the network is
    distilled on the images. The errors in the account are then those of the layers' outputs.

    Args:
        net: any module. It is not changed, unless ``inplace``.
        example_inputs: what it takes: a tensor, arguments as a tuple, or keyword arguments as a
            mapping. Their values do not matter, their shapes do: one image gives MACs per image.
        method: "ttpwt", or a rival to compare with: "tucker2", "cp", "kronecker", "tt",
            "tensor-ring", "hierarchical-tucker", "spatial-svd" or "channel-svd" (docs/method.md
            says what each is).
        rank: a rule for every layer, such as ``Energy(0.6)``, or a mapping from layer names or
            patterns to rules, of which the first that fits is taken.
        budget: instead of ``rank``: ratios to reach, with one threshold for the whole network; or a
            time, for which layers are measured at many ranks and the lost energy is made least.
        round_to: take the nearest multiples of the ranks that a rule or a budget gives.
        include: decompose these only: names, patterns such as "layer1.*", or modules.
        exclude: leave these as they are.
        skip_first: leave the first convolution as it is.
        linear: also split linear layers, by SVD under the same rule.
        balance: spread the scale over the factors of a layer. TT-SVD leaves it all in the last.
        inplace: change ``net`` itself. An error leaves it as it was. Not with ``calibration``.
        calibration: inputs as the network takes them, (N, ...), or batches of them such as a
            DataLoader gives; labels are not looked at.
        recover: False for the steps of calibration in closed form alone, without distillation; a
            :class:`Recovery` says which.
        progress: show a progress bar; by default if standard error is a terminal.

    Returns:
        the account: ``.model``, ``.pcr``, ``.fcr``, ``.layers``; it prints as a table.

    Raises:
        TensorpressError: a rank rule that the method does not understand, a network without
            convolutions, one that does not run on the example
            inputs, NaN or inf in a kernel, hooks or parametrisations that would be lost, a
            selector that fits nothing, a budget that cannot be reached.

    >>> import torch
    >>> from tensorpress import Energy, compress
    >>> net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3))
    >>> result = compress(net, torch.zeros(1, 3, 16, 16), rank=Energy(0.5))
    >>> [type(layer).__name__ for layer in result.model]
    ['Conv2d', 'ReLU', 'Factorized']
    """
    chosen = find_method(method)
    if not isinstance(round_to, int) or round_to < 1:
        raise TensorpressError(f"round_to={round_to!r}: give a whole number from 1 on, such as 8.")
    if (rank is None) == (budget is None):
        raise TensorpressError(
            "give either rank=, such as rank=Energy(0.6), or budget=, such as "
            "budget=Budget(params=4), and not both."
        )
    _refuse_wrong_types(rank, budget)
    _refuse_rules(chosen, rank)
    if inplace and calibration is not None:
        raise TensorpressError(
            "inplace=True does not go with calibration, which needs the network as it was: "
            "leave it out."
        )
    if recover is not True and calibration is None:
        raise TensorpressError(
            f"recover={recover!r} says what is done with calibration images, and there are none: "
            "give calibration= (--calibrate) too."
        )
    include = None if include is None else list_selectors(include)
    exclude = list_selectors(exclude)
    surveyed = survey(net, example_inputs)
    _refuse_unusable(surveyed, linear=linear)
    reasons = keep_reasons(
        net, surveyed, include=include, exclude=exclude, skip_first=skip_first, linear=linear
    )
    others = [layer for layer in surveyed.layers if layer.name not in reasons]
    reasons |= {s.name: why for s in others if (why := chosen.why_not(s.module)) is not None}
    candidates = [Candidate(s, method, round_to) for s in surveyed.layers if s.name not in reasons]
    rules = None
    if rank is not None:
        rules = _rules(net, rank, [candidate.surveyed.name for candidate in candidates], reasons)
        reasons |= {c.surveyed.name: NO_RULE for c in candidates if c.surveyed.name not in rules}

    def spread(layers: list[MeasuredLayer]) -> dict[str, tuple[int, ...]]:
        assert budget is not None
        if not budget.is_timed:
            return ranks_by_loss(layers, surveyed.cost, budget)
        return ranks_in_time(
            net, example_inputs, layers, cost=surveyed.cost, budget=budget, progress=progress
        )

    calibrated = None
    if calibration is not None:
        recovery = read_recovery(recover)
        calibrated = Calibrated(net, read_images(calibration), recovery, progress=progress)
        choices = calibrated.choices(candidates, surveyed.cost, rules, budget, spread)
        reasons = {c.surveyed.name: NOT_NEEDED for c in candidates} | reasons
    elif budget is not None and budget.is_timed:
        ranks = spread(measure_energies(candidates, progress=progress))
        taken = [c for c in candidates if c.surveyed.name in ranks]
        choices = [fit_layer(c, Ranks(*ranks[c.surveyed.name])) for c in taken]
        reasons = {c.surveyed.name: NOT_NEEDED for c in candidates} | reasons
    elif budget is not None:
        choices = fit_budget(candidates, surveyed.cost, budget, progress=progress)
    else:
        assert rules is not None
        ruled = [candidate for candidate in candidates if candidate.surveyed.name in rules]
        choices = [
            fit_layer(candidate, rules[candidate.surveyed.name])
            for candidate in track(ruled, "decomposing", show=progress)
        ]

    by_name = {choice.candidate.surveyed.name: choice for choice in choices}
    replacements: dict[str, nn.Module] = {
        name: choice.fit.to_module(choice.candidate.layer, balanced=balance)
        for name, choice in by_name.items()
        if choice.is_smaller
    }
    model = _operate(net, replacements, inplace=inplace)
    try:
        account = _account(model, example_inputs, surveyed, by_name, reasons)
    except BaseException:
        if inplace:
            originals = {layer.name: layer.module for layer in surveyed.layers}
            replace_layers(net, {name: originals[name] for name in replacements})
        raise
    if calibrated is not None:
        calibrated.finish(model)
    request = Request.of(
        method=method,
        rank=rank,
        budget=budget,
        include=include,
        exclude=exclude,
        skip_first=skip_first,
        linear=linear,
        balance=balance,
        round_to=round_to,
        calibration=calibrated and calibrated.as_request(),
    )
    return dataclasses.replace(account, request=request.to_dict())


def _refuse_wrong_types(rank: object, budget: object) -> None:
    if budget is not None and not isinstance(budget, Budget):
        raise TensorpressError(f"budget={budget!r}: give a Budget, such as Budget(params=4).")
    if rank is None or isinstance(rank, RankRule):
        return
    if not isinstance(rank, Mapping) or not rank:
        raise TensorpressError(
            f"rank={rank!r}: give a rank rule, such as Energy(0.6), or a mapping from layer names "
            "or patterns to rank rules."
        )
    for pattern, rule in rank.items():
        if not isinstance(rule, RankRule):
            raise TensorpressError(
                f"rank['{pattern}'] is {rule!r}: give a rank rule, such as Energy(0.6)."
            )


def _refuse_rules(method: Method, rank: RankRule | Mapping[str, RankRule] | None) -> None:
    rules = list(rank.values()) if isinstance(rank, Mapping) else [rank]
    for rule in rules:
        if rule is not None:
            method.check_rule(rule)


def _refuse_unusable(surveyed: Survey, *, linear: bool) -> None:
    if not any(layer.is_convolution or linear for layer in surveyed.layers):
        hint = ": linear=True decomposes its linear layers" if surveyed.layers else ""
        raise TensorpressError(f"the network has no convolution, so nothing to decompose{hint}.")
    for layer in surveyed.layers:
        for kind, parameter in layer.module.named_parameters():
            if not parameter.is_meta and not math.isfinite(largest_magnitude(parameter)):
                raise TensorpressError(
                    f"layer '{layer.name}' holds NaN or inf in its {kind}: look for a diverged "
                    "training or a damaged weight file."
                )


def _rules(
    net: nn.Module,
    rank: RankRule | Mapping[str, RankRule],
    names: list[str],
    kept: Mapping[str, str],
) -> dict[str, RankRule]:
    if isinstance(rank, RankRule):
        return dict.fromkeys(names, rank)
    return match_patterns(net, names, rank, "rank pattern", kept)


def _operate(net: nn.Module, replacements: dict[str, nn.Module], *, inplace: bool) -> nn.Module:
    if not inplace:
        return copy_with(net, replacements)
    if "" in replacements:
        raise TensorpressError(
            "the network is one layer, which cannot replace itself: "
            "use inplace=False, or factorize."
        )
    return replace_layers(net, replacements)


def _account(
    model: nn.Module,
    example_inputs: ExampleInputs,
    surveyed: Survey,
    choices: dict[str, Choice],
    reasons: dict[str, str],
) -> Account:
    after = _count_replaced(model, example_inputs)
    rows = []
    for layer in surveyed.layers:
        new = after.layers.get(layer.name)
        if new is None or len(new.inputs) != len(layer.cost.inputs):
            raise TensorpressError(
                f"the network calls layer '{layer.name}' in a way that its replacement cannot "
                "follow (by a reference kept elsewhere): exclude it, or give inplace=False."
            )
        choice = choices.get(layer.name)
        made = choice if choice is not None and choice.is_smaller else None
        rows.append(
            LayerRow.of(
                layer.name,
                layer.module,
                (layer.cost, new),
                _decision(layer, choice, reasons),
                ranks=made.fit.ranks if made else None,
                fit=(made.fit.kept_energy, made.fit.relative_error) if made else (None, None),
            )
        )
    before = surveyed.cost
    return Account(model, tuple(rows), before.params, after.params, before.macs, after.macs)


def _count_replaced(model: nn.Module, example_inputs: ExampleInputs) -> Cost:
    try:
        return count(model, example_inputs)
    except TensorpressError as error:
        raise TensorpressError(
            f"with its layers replaced, the network no longer runs ({error.__cause__ or error}): "
            "it reads the weight or a setting of a layer itself. Exclude that layer."
        ) from error


def _decision(layer: SurveyedLayer, choice: Choice | None, reasons: dict[str, str]) -> str:
    if choice is None:
        return f"kept: {reasons[layer.name]}"
    if not choice.is_smaller:
        return (
            f"kept: would not get smaller ({choice.params:,} params, {choice.macs:,} MACs at "
            f"ranks {' '.join(map(str, choice.fit.ranks))})"
        )
    clamped = " (ranks clamped to their bounds)" if choice.fit.clamped else ""
    remark = f" ({choice.fit.remark})" if choice.fit.remark else ""
    return choice.fit.method.name + clamped + remark
