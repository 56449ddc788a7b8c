"""The account of a compression, from what was chosen for each layer and what was counted."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from tensorpress.compression.options.task import LayerOption
from tensorpress.errors import TensorpressError, first_line
from tensorpress.layers.as_layer import weights_unread
from tensorpress.surgery import (
    Account,
    Cost,
    ExampleInputs,
    LayerRow,
    Survey,
    SurveyedLayer,
    count,
    history_of,
    remember,
)


@dataclass(frozen=True)
class Told:
    """What the account says of one layer.

    Attributes:
        decision: what was done with it, or why it stays.
        method: the treatment's name where it was treated.
        ranks: of its replacement.
        fit: the energy that is kept and the relative error, of what is no longer the same.
    """

    decision: str
    method: str | None = None
    ranks: tuple[int, ...] | None = None
    fit: tuple[float | None, float | None] = (None, None)


def account_of(
    model: nn.Module,
    example_inputs: ExampleInputs,
    surveyed: Survey,
    tell: Callable[[SurveyedLayer], Told],
    request: Mapping[str, Any],
    net: nn.Module,
) -> Account:
    """Count ``model`` and put it beside the network that it was made from.

    What had been done to that network before is remembered with ``model``, and this besides.

    Args:
        surveyed: the network before.
        tell: what was done with a layer.
        request: how it was asked for.
        net: the network before, for what it remembers.

    Raises:
        TensorpressError: the compressed network does not run, or calls a layer in another way.
    """
    after = _count_replaced(model, example_inputs)
    rows = []
    for layer in surveyed.layers:
        new = after.layers.get(layer.name)
        if new is None or len(new.inputs) != len(layer.cost.inputs):
            raise TensorpressError(
                f"the network calls layer '{layer.name}' in a way that its replacement cannot "
                "follow (by a reference kept elsewhere): exclude it, or give inplace=False."
            )
        told = tell(layer)
        rows.append(
            LayerRow.of(
                layer.name,
                layer.dense or layer.module,
                (layer.cost, new),
                told.decision,
                ranks=told.ranks,
                fit=told.fit,
                method=told.method,
            )
        )
    before = surveyed.cost
    account = Account(
        model,
        tuple(rows),
        before.params,
        after.params,
        before.macs,
        after.macs,
        request,
        history_of(net),
    )
    remember(model, account.story)
    return account


def tell_option(
    layer: SurveyedLayer, options: Mapping[str, LayerOption], kept: Mapping[str, str]
) -> Told:
    """What the account says of a layer that has an option, or the reason why it has none."""
    option = options.get(layer.place)
    if option is None:
        return Told(f"kept: {kept[layer.name]}")
    if not option.is_smaller:
        ranks = " ".join(map(str, option.fit.ranks))
        return Told(
            f"kept: would not get smaller ({option.params:,} params, {option.macs:,} MACs at "
            f"ranks {ranks})"
        )
    name = option.task.treatment.name
    clamped = " (ranks clamped to their bounds)" if option.fit.clamped else ""
    remark = f" ({option.fit.remark})" if option.fit.remark else ""
    fit = (option.fit.kept_energy, option.fit.relative_error)
    return Told(name + clamped + remark + layer.story, name, option.fit.ranks, fit)


def _count_replaced(model: nn.Module, example_inputs: ExampleInputs) -> Cost:
    try:
        with weights_unread():
            return count(model, example_inputs)
    except TensorpressError as error:
        raise TensorpressError(
            f"with its layers replaced, the network no longer runs "
            f"({first_line(error.__cause__ or error)}): it reads the weight or a "
            "setting of a layer itself. Exclude that layer."
        ) from error
