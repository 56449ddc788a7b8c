"""What is refused before any work: things that no network could be compressed by."""

from collections.abc import Mapping, Sequence

from tensorpress.choices import AUTO, INT8
from tensorpress.compression.pruning.criteria import (
    CRITERIA,
    Criterion,
    find_criterion,
    refuse_without_images,
)
from tensorpress.compression.pruning.prune import refuse_unpruned
from tensorpress.decompose import RankRule
from tensorpress.deploy.planning.setting import usable
from tensorpress.errors import TensorpressError, refuse_no_flag, shown
from tensorpress.layers import METHODS, Treatment, find_method
from tensorpress.layers.methods import DECOMPOSITIONS, FORMS, Decomposition
from tensorpress.request import Recovery, read_recovery
from tensorpress.request.budget import RUNTIME, Budget
from tensorpress.request.request import Request, method_meant
from tensorpress.rows import Outputs


def check_asked(
    method: str | Treatment | Criterion | None,
    *,
    methods: Sequence[str | Treatment] | None = None,
    rank: RankRule | Mapping[str, RankRule] | None,
    budget: Budget | None,
    round_to: int = 1,
    balance: bool = False,
    inplace: bool = False,
    calibrated: bool = False,
    recover: bool | Recovery = True,
    **flags: object,
) -> Sequence[Treatment] | Criterion:
    """The treatments to choose from, or the criterion to prune by, if they go with the rest.

    Raises:
        TensorpressError: no such method; a rule, budget or setting of the wrong type, or that the
            method does not understand; what does not go together.
    """
    refuse_no_flag(balance=balance, inplace=inplace, **flags)
    if isinstance(method, Criterion) or (isinstance(method, str) and method in CRITERIA):
        others = {
            "round_to": type(round_to) is not int or round_to != 1,
            "balance": balance,
            "inplace": inplace,
        }
        others["methods"] = methods is not None
        _refuse_for_pruning(rank, budget, [name for name, is_given in others.items() if is_given])
        refuse_unpruned(budget)
        _refuse_folding(flags)
        _refuse_idle_recovery(calibrated, recover)
        return find_criterion(method)
    ranked = rank is not None
    meant: str | Treatment = method_meant(
        method, methods, ranked=ranked, by_loss=budget is not None and calibrated
    )
    treatments = read_methods(meant, methods, ranked=ranked)
    if type(round_to) is not int or round_to < 1:
        raise TensorpressError(
            f"round_to={shown(round_to)}: give a whole number from 1 on, such as 8."
        )
    if (rank is None) == (budget is None):
        raise TensorpressError(
            "give either rank=, such as rank=Energy(0.6), or budget=, such as "
            "budget=Budget(params=4), and not both."
        )
    _refuse_wrong_types(rank, budget)
    for treatment in treatments:
        for rule in rank.values() if isinstance(rank, Mapping) else [rank]:
            if rule is not None:
                treatment.check_rule(rule)
        _refuse_budget(treatment, budget)
    if inplace and calibrated:
        raise TensorpressError(
            "inplace=True does not go with calibration, which needs the network as it was: "
            "leave it out."
        )
    _refuse_idle_recovery(calibrated, recover)
    at_random = [treatment.name for treatment in treatments if treatment.starts_at_random]
    if calibrated and at_random:
        raise TensorpressError(
            f"{at_random[0]} starts at random, so that there is nothing for calibration images "
            "to keep: leave them out, and train the network."
        )
    return treatments


def read_methods(
    method: str | Treatment, methods: Sequence[str | Treatment] | None, *, ranked: bool = False
) -> list[Treatment]:
    """The treatments that a layer's is chosen from: one, unless the method is "auto".

    Args:
        method: a name, an object or "auto".
        methods: what "auto" is to choose from; all forms by default.
        ranked: whether ranks are asked for by rules, which are of one method.

    Raises:
        TensorpressError: no such method, or what does not go together.
    """
    if methods is not None:
        return _read_choice(method, methods, ranked=ranked)
    if isinstance(method, str) and method == AUTO:
        return [METHODS[name] for name in FORMS]
    if isinstance(method, str) and method not in METHODS:
        raise TensorpressError(
            f"there is no method {shown(method)}; there is: {AUTO}, {', '.join(sorted(METHODS))}; "
            f"and to prune by: {', '.join(CRITERIA)}."
        )
    treatment = find_method(method)
    if treatment.name in CRITERIA:
        raise TensorpressError(
            f"{type(treatment).__name__} has the name '{treatment.name}', which is that of a "
            "criterion to prune by: give it another."
        )
    return [treatment]


def refuse_unjudged(budget: Budget | None, *, calibrated: bool, scored: bool) -> None:
    """Raise for a budget of quality without what it is judged by, or a score without a budget.

    Raises:
        TensorpressError: it says what to give.
    """
    if budget is not None and budget.of_quality and not calibrated:
        raise TensorpressError(
            f"{budget}: a quality is kept by calibration images, and there are none: give "
            "calibration= (--calibrate) too."
        )
    by_score = budget is not None and budget.needs_score
    if by_score and not scored:
        raise TensorpressError(
            f"{budget} is of a score: give score=, a function of a network (--data, for accuracy)."
        )
    if scored and not by_score:
        raise TensorpressError("score= is for Budget(max_drop=): give one too, or leave it out.")


def refuse_unfounded(
    treated: Sequence[Treatment] | Criterion,
    budget: Budget | None,
    outputs: Outputs | None,
    recover: bool | Recovery,
    *,
    calibrated: bool,
    scored: bool,
) -> None:
    """Raise for what cannot be done without images, a score, a runtime or a step of recovery.

    Args:
        treated: what :func:`check_asked` gave.

    Raises:
        TensorpressError: it says what to give.
    """
    if isinstance(treated, Criterion):
        refuse_without_images(treated, given=calibrated)
    if outputs is not None and not calibrated:
        raise TensorpressError(
            "outputs= says what calibration compares, and there is none: give calibration="
            " (--calibrate)."
        )
    refuse_unjudged(budget, calibrated=calibrated, scored=scored)
    refuse_without_int8(budget, calibrated=calibrated, compared=outputs is not None)
    if calibrated and budget is not None and (budget.is_timed or budget.of_quality):
        what = "time" if budget.is_timed else "quality"
        if not read_recovery(recover).allocate:
            raise TensorpressError(
                f"{budget}: a budget of {what} is spread by what layers lose, so allocate has to "
                "stay on."
            )


def refuse_without_int8(budget: Budget | None, *, calibrated: bool, compared: bool) -> None:
    """Raise where int8 is to be chosen and cannot be.

    Args:
        compared: whether something else than the network's answers is compared.

    Raises:
        TensorpressError: the runtime does not compute in it or is not installed, there are no
            images, or what is compared is inside the network.
    """
    if budget is None or not budget.chooses_int8:
        return
    usable(budget.runtime or RUNTIME, INT8)
    if not calibrated:
        raise TensorpressError(
            f"{budget}: int8 is chosen by what it does to the answers for images, and there are "
            "none: give calibration= (--calibrate) too, a few hundred without labels."
        )
    if compared:
        raise TensorpressError(
            "outputs= compares what is inside a network or made of its answers, which a file in "
            "int8 does not give: leave int8 or outputs= out."
        )


def starts_at_random(treated: Sequence[Treatment] | Criterion) -> bool:
    """Whether what is made has to be trained before it is of use."""
    return not isinstance(treated, Criterion) and any(one.starts_at_random for one in treated)


def _read_choice(
    method: str | Treatment, methods: Sequence[str | Treatment], *, ranked: bool
) -> list[Treatment]:
    if not isinstance(method, str) or method != AUTO:
        raise TensorpressError(
            f"methods= is what method='auto' chooses from, and method={shown(method)}: give one "
            "of them."
        )
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods:
        raise TensorpressError(
            f"methods={shown(methods)}: give several, such as ('ttpwt', 'spatial-svd')."
        )
    pruning = [one for one in methods if isinstance(one, Criterion) or one in tuple(CRITERIA)]
    if pruning:
        raise TensorpressError(
            f"methods={shown(methods)}: {_name(pruning[0])} takes filters out and replaces no "
            "layer, so that it is not chosen beside others: give decompositions, or prune by it "
            "alone, as method= (--method), which is of networks of PyTorch."
        )
    found = [read_methods(one, None)[0] for one in methods if one != AUTO]
    names = [treatment.name for treatment in found]
    if len(found) < len(methods) or len(set(names)) < len(names):
        raise TensorpressError(f"methods={shown(methods)}: give different methods, each once.")
    others = [t.name for t in found if not isinstance(t, Decomposition)]
    if others and len(found) > 1:
        raise TensorpressError(
            f"methods: {', '.join(others)} is no decomposition, and is not chosen beside others: "
            f"give it as method=, or choose from {', '.join(DECOMPOSITIONS)}."
        )
    if ranked and len(found) > 1:
        raise TensorpressError(
            "rank= is a rule for one method, and several are given to choose from: give method=, "
            "or a budget in place of rank=."
        )
    return found


def _name(criterion: str | Criterion) -> str:
    return criterion if isinstance(criterion, str) else criterion.name


def check_request(
    request: Request, *, calibrated: bool | None = None
) -> Sequence[Treatment] | Criterion:
    """The same for a recorded request, before a network is trained for it.

    Args:
        calibrated: whether there are images; by default whether the request asks for some.
    """
    asked = request.arguments()
    names = ("method", "methods", "rank", "budget", "round_to", "balance", "fold_parametrizations")
    calibrated = request.calibration is not None if calibrated is None else calibrated
    return check_asked(**{name: asked[name] for name in names}, calibrated=calibrated)


def _refuse_wrong_types(rank: object, budget: object) -> None:
    if budget is not None and not isinstance(budget, Budget):
        raise TensorpressError(f"budget={shown(budget)}: give a Budget, such as Budget(params=4).")
    if rank is None or isinstance(rank, RankRule):
        return
    if not isinstance(rank, Mapping) or not rank:
        raise TensorpressError(
            f"rank={shown(rank)}: give a rank rule, such as Energy(0.6), or a mapping from layer "
            "names or patterns to rank rules."
        )
    for pattern, rule in rank.items():
        if not isinstance(rule, RankRule):
            raise TensorpressError(
                f"rank[{shown(pattern)}] is {shown(rule)}: give a rank rule, such as Energy(0.6)."
            )


def _refuse_budget(treatment: Treatment, budget: Budget | None) -> None:
    if budget is None:
        return
    if budget.is_timed and not isinstance(treatment, Decomposition):
        raise TensorpressError(
            f"{budget}: {treatment.name} is not timed; give Budget(params=4)"
            + (" or Budget(macs=2)." if treatment.saves_macs or treatment.starts_at_random else ".")
        )
    if budget.macs is not None and not treatment.saves_macs and not treatment.starts_at_random:
        raise TensorpressError(
            f"{budget}: {treatment.name} saves no MACs; give Budget(params=2) "
            "(--budget-params 2) alone."
        )


def _refuse_for_pruning(rank: object, budget: object, others: list[str]) -> None:
    if rank is not None or budget is None:
        raise TensorpressError(
            "filters are pruned to a budget: give budget=, such as Budget(macs=2) "
            "(--budget-macs 2), and no rank=."
        )
    if others:
        raise TensorpressError(
            f"{', '.join(others)}: pruning takes out whole filters, and knows nothing of it; leave "
            "it out."
        )


def _refuse_folding(flags: Mapping[str, object]) -> None:
    if flags.get("fold_parametrizations"):
        raise TensorpressError(
            "fold_parametrizations=True (--fold-parametrizations) is of decompositions, and by a "
            "criterion plain layers are pruned: give it tensorpress.surgery.fold_parametrizations"
            "(net)."
        )


def _refuse_idle_recovery(calibrated: bool, recover: bool | Recovery) -> None:
    if recover is not True and not calibrated:
        raise TensorpressError(
            f"recover={shown(recover)} says what is done with calibration images, and there are "
            "none: give calibration= (--calibrate) too."
        )
