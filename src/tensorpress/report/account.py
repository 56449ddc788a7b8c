"""The account of a compression: as it was recorded, or counted anew."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tensorpress.artifacts.recorded_account import check_precision
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers import Factorized
from tensorpress.layers.padded import Padded
from tensorpress.report.json_values import number, whole
from tensorpress.surgery import LayerRow, Precision, count


@dataclass(frozen=True)
class AccountRecord:
    """A `tensorpress.surgery.Account` without its network.

    Attributes:
        layers: a row per convolution and linear layer, in order of execution.
        params_before, params_after, macs_before, macs_after: of the whole network.
        request: how the compression was asked for; empty where that is not recorded.
        originally: (params, MACs) before each compression that came before, the first one first.
        counted: whether it was counted for this report, because no file holds it.
        precision: what the network is to be executed in, where that was chosen, too.
    """

    layers: tuple[LayerRow, ...]
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int
    request: Mapping[str, Any] = field(default_factory=dict)
    originally: tuple[tuple[int, int], ...] = ()
    counted: bool = False
    precision: Precision | None = None


def read_account(content: Mapping[str, Any], path: Path) -> AccountRecord:
    """The account in ``content``, which comes from the file ``path``.

    Raises:
        TensorpressError: it is damaged; the first wrong value is named.
    """
    layers = content.get("layers")
    if not isinstance(layers, list) or not all(isinstance(row, dict) for row in layers):
        raise TensorpressError(f"the account in {path} is damaged: it lists no layers.")
    request, history = content.get("request"), content.get("history", [])
    if not isinstance(history, list) or not all(isinstance(step, dict) for step in history):
        raise TensorpressError(
            f"the account in {path} is damaged: its history is no list of steps."
        )
    return AccountRecord(
        layers=tuple(_row(row, path) for row in layers),
        params_before=_count(content, "params_before", path),
        params_after=_count(content, "params_after", path),
        macs_before=_count(content, "macs_before", path),
        macs_after=_count(content, "macs_after", path),
        request=request if isinstance(request, dict) else {},
        originally=tuple(
            (_count(step, "params_before", path), _count(step, "macs_before", path))
            for step in history
        ),
        precision=_precision(content, path),
    )


def count_account(
    dense: nn.Module,
    small: nn.Module,
    image: torch.Tensor,
    fits: Mapping[str, tuple[float | None, float | None]],
) -> AccountRecord:
    """The account of ``small``, made from ``dense``, counted on ``image``, a batch of one.

    ``fits`` gives kept energy and relative error of layers where they are known.

    Raises:
        TensorpressError: a network does not run on it.
    """
    before, after = (count(net, image) for net in (dense, small))
    modules, replaced = dict(dense.named_modules()), dict(small.named_modules())
    rows = []
    for name, cost in before.layers.items():
        chain, new = replaced.get(name), after.layers.get(name)
        chain = chain.layer if isinstance(chain, Padded) else chain
        if new is None:
            continue
        made = chain if isinstance(chain, Factorized) else None
        rows.append(
            LayerRow.of(
                name,
                modules[name],
                (cost, new),
                made.method if made else "kept; why is not recorded",
                ranks=made.ranks if made else None,
                fit=fits.get(name, (None, None)) if made else (None, None),
                method=made.method if made else None,
            )
        )
    totals = (before.params, after.params, before.macs, after.macs)
    return AccountRecord(tuple(rows), *totals, counted=True)


def _row(row: dict[str, Any], path: Path) -> LayerRow:
    ranks = row.get("ranks")
    if ranks is not None and not (
        isinstance(ranks, list) and all(whole(rank) is not None and rank > 0 for rank in ranks)
    ):
        raise _damaged(path, "ranks", ranks)
    return LayerRow(
        name=_text(row, "name", path),
        kernel=_text(row, "kernel", path),
        ranks=tuple(map(int, ranks)) if ranks else None,
        kept_energy=_share(row, "kept_energy", path),
        relative_error=_share(row, "relative_error", path),
        params_before=_count(row, "params_before", path),
        params_after=_count(row, "params_after", path),
        macs_before=_count(row, "macs_before", path),
        macs_after=_count(row, "macs_after", path),
        decision=_text(row, "decision", path),
        method=None if row.get("method") is None else _text(row, "method", path),
    )


def _precision(content: Mapping[str, Any], path: Path) -> Precision | None:
    value = content.get("precision")
    if value is None:
        return None
    try:
        check_precision(value)
        read = Precision.from_dict(value)
        if not read.milliseconds:
            raise ValueError("no time at all")
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, "precision", value) from error
    return read


def _text(row: Mapping[str, Any], key: str, path: Path) -> str:
    value = row.get(key)
    if not isinstance(value, str):
        raise _damaged(path, key, value)
    return value


def _count(row: Mapping[str, Any], key: str, path: Path) -> int:
    value = whole(row.get(key))
    if value is None:
        raise _damaged(path, key, row.get(key))
    return value


def _share(row: Mapping[str, Any], key: str, path: Path) -> float | None:
    value = number(row.get(key))
    if row.get(key) is not None and (value is None or value < 0):
        raise _damaged(path, key, row.get(key))
    return value


def _damaged(path: Path, key: str, value: object) -> TensorpressError:
    return TensorpressError(f"the account in {path} is damaged: its {key} is {shown(value)}.")
