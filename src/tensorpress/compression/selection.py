"""What of a network is treated, and why the rest stays."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import nn

from tensorpress.compression.options.task import LayerTask
from tensorpress.decompose import RankRule, Ranks
from tensorpress.errors import TensorpressError
from tensorpress.layers import Layer, Treatment
from tensorpress.layers.eligible import refuse_hooked
from tensorpress.surgery import (
    Selector,
    Survey,
    is_damaged,
    keep_reasons,
    list_selectors,
    match_patterns,
)

QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized")
NO_RULE = "no rank rule fits its name"


@dataclass(frozen=True)
class Selection:
    """Which layers a user meant.

    Attributes:
        include: these only; None for all.
        exclude: leave these as they are.
        skip_first: leave the first convolution as it is.
        skip_output: leave convolutions to few channels as they are that give the outputs.
        linear: treat linear layers too.
    """

    include: list[Selector] | None
    exclude: list[Selector]
    skip_first: bool = True
    skip_output: bool = True
    linear: bool = False

    @classmethod
    def of(
        cls,
        include: Iterable[Selector] | None,
        exclude: Iterable[Selector],
        *,
        skip_first: bool = True,
        skip_output: bool = True,
        linear: bool = False,
    ) -> "Selection":
        """Selectors as they were given: from a generator, or a single one."""
        included = None if include is None else list_selectors(include)
        return cls(included, list_selectors(exclude), skip_first, skip_output, linear)

    def reasons(self, net: nn.Module, surveyed: Survey) -> dict[str, str]:
        """Why layers stay, by name.

        Raises:
            TensorpressError: a selector that fits no layer.
        """
        return keep_reasons(
            net,
            surveyed,
            include=self.include,
            exclude=self.exclude,
            skip_first=self.skip_first,
            skip_output=self.skip_output,
            linear=self.linear,
        )


def select(
    net: nn.Module,
    surveyed: Survey,
    treatments: Sequence[Treatment],
    selection: Selection,
    round_to: int = 1,
    *,
    takes_linear: bool = True,
) -> tuple[list[LayerTask], dict[str, str]]:
    """The layers to treat, in order of execution, and why the others stay.

    Of a layer there is a task for each treatment that takes it, but for those whose replacements
    are of the same form as an earlier one's.

    Args:
        takes_linear: whether the verb has linear layers treated by ``linear=True``.

    Raises:
        TensorpressError: a network without layers that could be treated, NaN or inf in one of its
            layers, a selector that fits nothing.
    """
    refuse_quantised(net)
    refuse_unusable(surveyed, treatments, linear=selection.linear, takes_linear=takes_linear)
    kept = selection.reasons(net, surveyed)
    tasks = []
    for layer in surveyed.layers:
        if layer.name in kept:
            continue
        if layer.treated_by is not None:
            refuse_hooked(layer.name, layer.module)
        plain = cast(Layer, layer.dense or layer.module)
        reasons = [treatment.why_not(plain) for treatment in treatments]
        suited = [t for t, reason in zip(treatments, reasons, strict=True) if reason is None]
        if suited:
            different = {treatment.form(plain): treatment for treatment in reversed(suited)}
            chosen = [t for t in suited if t in different.values()]
            tasks += [LayerTask(layer, treatment, round_to) for treatment in chosen]
        else:
            kept[layer.name] = str(reasons[0])
    return tasks, kept


def rules_by_name(
    net: nn.Module,
    rank: RankRule | Mapping[str, RankRule],
    tasks: list[LayerTask],
    kept: Mapping[str, str],
    what: str = "rank pattern",
) -> dict[str, RankRule]:
    """The rule of each task's layer, by name; those that no pattern fits are left out.

    Raises:
        TensorpressError: a pattern that fits no layer, or only layers that stay.
    """
    places = {task.surveyed.name: task.name for task in tasks}
    if isinstance(rank, RankRule):
        return dict.fromkeys(places.values(), rank)
    found = match_patterns(net, list(places), rank, what, kept)
    return {places[name]: rule for name, rule in found.items()}


def rules_from(given: Any, rule: Callable[[Any], Ranks]) -> Ranks | Mapping[str, Ranks] | None:
    """The rules of what a verb with its own words was given: one value, or values by pattern."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {pattern: rule(value) for pattern, value in given.items()}
    return rule(given)


def refuse_quantised(net: nn.Module) -> None:
    """Raise for a network with layers of PyTorch's quantised kinds, as their weights do not count.

    Raises:
        TensorpressError: it says what to compress.
    """
    found = [name for name, module in net.named_modules() if _is_quantised(module)]
    if found:
        raise TensorpressError(
            f"layers of the network are quantised ({len(found)}, first '{found[0]}'), and their "
            "weights would not be counted: compress the network that it was made from, and "
            "quantise that."
        )


def _is_quantised(module: nn.Module) -> bool:
    """Whether it holds weights in int8; "reference" layers hold parameters."""
    kind = type(module).__module__
    holds = any(callable(getattr(module, name, None)) for name in ("weight", "get_weight"))
    return kind.startswith(QUANTISED) and ".reference" not in kind and holds


def refuse_unusable(
    surveyed: Survey, treatments: Sequence[Treatment], *, linear: bool, takes_linear: bool
) -> None:
    """Raise for a network that there is nothing to do with, or whose weights are damaged.

    Raises:
        TensorpressError: no convolutions (nor linear layers, if they count); NaN or inf.
    """
    if not any(layer.is_convolution or linear for layer in surveyed.layers):
        plain = [layer.dense for layer in surveyed.layers if layer.dense is not None]
        suited = any(t.why_not(layer) is None for t in treatments for layer in plain)
        if suited and takes_linear:
            hint = ": linear=True decomposes its linear layers"
        elif suited:
            hint = ": linear layers are not explored; compress takes them with linear=True"
        else:
            hint = f": {treatments[0].name} does not treat linear layers" if plain else ""
        raise TensorpressError(f"the network has no convolution, so nothing to decompose{hint}.")
    for layer in surveyed.layers:
        for kind, parameter in layer.module.named_parameters():
            if is_damaged(parameter):
                raise TensorpressError(
                    f"layer '{layer.name}' holds NaN or inf in its {kind}: look for a diverged "
                    "training or a damaged weight file."
                )
