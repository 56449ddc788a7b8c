"""The tables of the page, as rows of text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tensorpress.report.account import AccountRecord
from tensorpress.report.quantity import DASH, count, layer_name, share
from tensorpress.report.spectra import LayerSpectra
from tensorpress.surgery import LayerRow
from tensorpress.training.curves import Epoch

SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Table:
    """A table whose first column names the rows; ``words`` are the columns without numbers."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[object]]
    words: Sequence[int] = (0,)
    foot: Sequence[object] = ()


def account_table(account: AccountRecord) -> Table:
    """A row per convolution and linear layer, as `tensorpress compress` prints it."""
    other = (
        account.params_before - sum(row.params_before for row in account.layers),
        account.params_after - sum(row.params_after for row in account.layers),
    )
    rows = [_account_row(row) for row in account.layers]
    if other != (0, 0):
        what = "all else: batch norm and the like"
        rows.append((what, "", "", "", "", count(other[0]), count(other[1]), "", "", ""))
    return Table(
        "Every layer before and after. Parameters hold biases; MACs are for one input.",
        (
            "Layer",
            "Kernel",
            "Ranks",
            "Kept energy",
            "Relative error",
            "Parameters before",
            "Parameters after",
            "MACs before",
            "MACs after",
            "Decision",
        ),
        rows,
        words=(0, 1, 2, 9),
        foot=(
            "Whole network",
            *("" for _ in range(4)),
            count(account.params_before),
            count(account.params_after),
            count(account.macs_before),
            count(account.macs_after),
            "",
        ),
    )


def rank_table(layers: Sequence[tuple[str, tuple[int, ...] | None]]) -> Table:
    """Ranks alone, where nothing else is recorded."""
    rows = [(layer_name(name), " ".join(map(str, ranks or ()))) for name, ranks in layers]
    return Table("The decomposed layers and their ranks.", ("Layer", "Ranks"), rows, words=(0, 1))


def spectra_table(layer: LayerSpectra) -> Table:
    """What each step kept, and the ranks that other shares would have needed."""
    rows = [
        (
            f"R{number}" if layer.truncated else f"unfolding {number}",
            step.rank,
            len(step.kept),
            share(step.kept[step.rank - 1]),
            share(step.threshold),
            *(step.needs(part) for part in SHARES),
        )
        for number, step in enumerate(layer.steps, 1)
    ]
    keeps = "each step keeps" if layer.truncated else "so many terms can keep at most"
    return Table(
        f"{layer_name(layer.name)}: what {keeps}, and the rank for other shares.",
        (
            "Step",
            "Rank",
            "of",
            "keeps",
            "Threshold",
            *(f"for {100 * part:.0f} %" for part in SHARES),
        ),
        rows,
    )


def epoch_table(epochs: Sequence[Epoch]) -> Table:
    """A row an epoch."""
    rows = [
        (
            epoch.phase,
            epoch.epoch,
            _plain(epoch.lr, ".4g"),
            _plain(epoch.loss, ".4f"),
            _plain(epoch.train_acc, ".2f"),
            _plain(epoch.test_acc, ".2f"),
            _plain(epoch.seconds, ".1f"),
        )
        for epoch in epochs
    ]
    return Table(
        "Every epoch: learning rate, training loss, accuracy in percent, and seconds.",
        ("Phase", "Epoch", "Rate", "Loss", "Training accuracy", "Test accuracy", "Seconds"),
        rows,
    )


def facts_table(caption: str, head: tuple[str, str], facts: Mapping[str, object]) -> Table:
    """Names and values."""
    rows = [(name, _value(value)) for name, value in facts.items()]
    return Table(caption, head, rows, words=(0, 1))


def _account_row(row: LayerRow) -> tuple[object, ...]:
    return (
        layer_name(row.name),
        row.kernel,
        " ".join(map(str, row.ranks)) if row.ranks else DASH,
        share(row.kept_energy),
        share(row.relative_error),
        count(row.params_before),
        count(row.params_after),
        count(row.macs_before),
        count(row.macs_after),
        row.decision,
    )


def _plain(value: float | None, form: str) -> str:
    return DASH if value is None else format(value, form)


def _value(value: object) -> str:
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or DASH
    return str(value)
