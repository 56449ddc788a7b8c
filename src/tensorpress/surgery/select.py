"""Which layers a user meant by include and exclude."""

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TypeVar

from torch import Tensor, nn

from tensorpress.errors import TensorpressError, shown
from tensorpress.files import composed
from tensorpress.graphs import GraphNetwork
from tensorpress.surgery.survey import Survey

T = TypeVar("T")
OUTPUT = "output layer (skip_output, or include it by name)"

Selector = str | nn.Module
"""A layer's name, a pattern such as "layer1.*", or the module itself (with all in it)."""


def keep_reasons(
    net: nn.Module,
    surveyed: Survey,
    *,
    include: Iterable[Selector] | None,
    exclude: Iterable[Selector],
    skip_first: bool,
    skip_output: bool,
    linear: bool,
) -> dict[str, str]:
    """Why layers of the survey stay, by name; those not named are to be decomposed.

    Output layers are not skipped where a selector to include fits nothing else.

    Raises:
        TensorpressError: a selector that fits no layer.
    """
    names = [layer.name for layer in surveyed.layers]
    hits = [_matches(net, names, [one], "include") for one in include or ()]
    included = None if include is None else set().union(*hits)
    outputs = {layer.name for layer in surveyed.layers if layer.is_output}
    meant = set().union(*(found for found in hits if found <= outputs))
    excluded = _matches(net, names, exclude, "exclude")
    first = surveyed.first_convolution
    reasons: dict[str, str] = {}
    for layer in surveyed.layers:
        if layer.obstacle is not None:
            reasons[layer.name] = layer.obstacle
        elif layer.name in excluded:
            reasons[layer.name] = "excluded"
        elif included is not None and layer.name not in included:
            reasons[layer.name] = "not included"
        elif skip_first and first is not None and layer.name == first.name:
            reasons[layer.name] = "first convolution (skip_first)"
        elif skip_output and layer.name in outputs - meant:
            reasons[layer.name] = OUTPUT
        elif not linear and not layer.is_convolution:
            reasons[layer.name] = "linear layer (linear=True decomposes it)"
    return reasons


def list_selectors(selectors: Iterable[Selector]) -> list[Selector]:
    """Selectors that may come from a generator, or be a single one."""
    if isinstance(selectors, (str, nn.Module)):
        return [selectors]
    if not isinstance(selectors, Iterable) or isinstance(selectors, Tensor):
        raise TensorpressError(
            f"include and exclude take names, patterns and modules, not {shown(selectors)}."
        )
    return list(selectors)


def show_selectors(selectors: Iterable[Selector]) -> list[str]:
    """Selectors as JSON values; a module goes by its kind."""
    return [s if isinstance(s, str) else f"<{type(s).__name__}>" for s in selectors]


def match_patterns(
    net: nn.Module,
    names: Sequence[str],
    patterns: Mapping[str, T],
    what: str,
    kept: Mapping[str, str] | None = None,
) -> dict[str, T]:
    """The value of the first pattern that fits each name; names that none fits are left out.

    Raises:
        TensorpressError: a pattern that fits no layer at all, or only layers that are ``kept``,
            for the reason given there.
    """
    kept = kept or {}
    fitting = {pattern: _matches(net, [*names, *kept], [pattern], what) for pattern in patterns}
    for pattern, hits in fitting.items():
        if hits <= kept.keys():
            name = min(hits)
            raise TensorpressError(
                f"{what} '{pattern}' fits only layers that stay as they are: "
                f"'{name}' ({kept[name]})."
            )
    chosen: dict[str, T] = {}
    for name in names:
        for pattern, value in patterns.items():
            if name in fitting[pattern]:
                chosen[name] = value
                break
    return chosen


def _matches(
    net: nn.Module, names: Sequence[str], selectors: Iterable[Selector], what: str
) -> set[str]:
    modules = dict(net.named_modules(remove_duplicate=False))
    found: set[str] = set()
    for selector in selectors:
        if isinstance(selector, nn.Module):
            inside = {id(module) for module in selector.modules()}
            hits = {name for name in names if id(modules[name]) in inside}
        elif not isinstance(selector, str):
            raise TensorpressError(
                f"{what} takes names, patterns and modules, not {shown(selector)}."
            )
        else:
            # A layer that stands in several places goes by each of its names.
            ids = {id(modules[name]) for name in _meant(net, modules, selector)}
            hits = {name for name in names if id(modules[name]) in ids}
        if not hits:
            label = selector if isinstance(selector, str) else type(selector).__name__
            raise _no_match(label, names, what)
        found |= hits
    return found


def _meant(net: nn.Module, modules: Iterable[str], selector: str) -> set[str]:
    """The modules that a name or pattern means, also by the names of the nodes of a graph."""
    called = net.structure.called if isinstance(net, GraphNetwork) else {}
    if selector in called:
        return {called[selector]}
    nodes = {layer for node, layer in called.items() if _fits(node, selector)}
    return nodes | {name for name in modules if _fits(composed(name), composed(selector))}


def _fits(name: str, pattern: str) -> bool:
    """Whether a pattern fits a name; a name fits itself, also one with brackets in it."""
    return name == pattern or fnmatchcase(name, pattern)


def _no_match(pattern: str, names: Sequence[str], what: str) -> TensorpressError:
    some = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return TensorpressError(f"{what} {shown(pattern)} fits no layer. The layers are: {some}")
