"""How much of which layers to keep: the options, and the rule or budget that they make."""

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from tensorpress.cli.options import read_ranks
from tensorpress.compression import Budget
from tensorpress.decompose import VBMF, Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.deploy import RUNTIMES
from tensorpress.errors import TensorpressError
from tensorpress.layers import METHODS

RANKS = "How much to keep (one of these)"
TIME = "A budget of time"
LAYERS = "Which layers"

EnergyShare = Annotated[
    float | None,
    typer.Option(
        "--energy",
        help="Share of the energy (squared singular values) that every step keeps: eq. 14 of the "
        "paper, in (0, 1]. Less keeps less: 0.8 is a good start, 0.6 is strong.",
        rich_help_panel=RANKS,
    ),
]
SingularShare = Annotated[
    float | None,
    typer.Option(
        "--singular-sum",
        help="Share of the plain sum of singular values that every step keeps, in (0, 1].",
        rich_help_panel=RANKS,
    ),
]
ErrorBound = Annotated[
    float | None,
    typer.Option(
        "--relative-error",
        help="Largest relative error of each kernel, in [0, 1).",
        rich_help_panel=RANKS,
    ),
]
FixedRanks = Annotated[
    str | None,
    typer.Option(
        "--ranks", help="The same ranks for every layer, such as 8,12,6.", rich_help_panel=RANKS
    ),
]
BudgetParams = Annotated[
    float | None,
    typer.Option(
        "--budget-params",
        help="Parameter ratio (PCR) to reach: 4 asks for a quarter. The threshold is found.",
        rich_help_panel=RANKS,
    ),
]
BudgetMacs = Annotated[
    float | None,
    typer.Option(
        "--budget-macs",
        help="MAC ratio (FCR) to reach, alone or with --budget-params.",
        rich_help_panel=RANKS,
    ),
]
BudgetSpeedup = Annotated[
    float | None,
    typer.Option(
        "--budget-speedup",
        help="How many times as fast as the dense network it is to be in --runtime, measured here.",
        rich_help_panel=TIME,
    ),
]
BudgetMilliseconds = Annotated[
    float | None,
    typer.Option(
        "--budget-ms",
        help="The milliseconds that a forward pass may take in --runtime, measured here.",
        rich_help_panel=TIME,
    ),
]
Runtime = Annotated[
    str,
    typer.Option("--runtime", help=f"{', '.join(RUNTIMES)}.", rich_help_panel=TIME),
]
Threads = Annotated[
    int | None,
    typer.Option("--threads", help="Threads of a forward pass.", rich_help_panel=TIME),
]
TimedBatch = Annotated[
    int | None,
    typer.Option("--batch", min=1, help="Images of a forward pass; 1.", rich_help_panel=TIME),
]
RoundTo = Annotated[
    int,
    typer.Option(
        "--round-to",
        min=1,
        help="Ranks are the nearest multiples of this: 8 or 16 suits vector units.",
        rich_help_panel=RANKS,
    ),
]
Method = Annotated[
    str,
    typer.Option(
        "--method", help=f"The decomposition: {', '.join(METHODS)}.", rich_help_panel=RANKS
    ),
]
BayesianRanks = Annotated[
    bool,
    typer.Option(
        "--vbmf",
        help="Ranks by variational Bayes, without a threshold, for the methods that know it: "
        + ", ".join(name for name, method in METHODS.items() if VBMF in method.rules)
        + ".",
        rich_help_panel=RANKS,
    ),
]
Include = Annotated[
    list[str] | None,
    typer.Option(
        "--include",
        help="Decompose these layers only: a name or pattern, such as 'layer1.*'; may be repeated.",
        rich_help_panel=LAYERS,
    ),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude",
        help="Leave these layers as they are: a name or pattern, such as 'layer1.*'; may be "
        "repeated.",
        rich_help_panel=LAYERS,
    ),
]
SkipFirst = Annotated[
    bool,
    typer.Option(
        "--skip-first/--no-skip-first",
        help="Leave the first convolution as it is, as the paper does.",
        rich_help_panel=LAYERS,
    ),
]
Linear = Annotated[
    bool, typer.Option("--linear", help="Split linear layers too.", rich_help_panel=LAYERS)
]
Balance = Annotated[
    bool,
    typer.Option(
        "--balance/--no-balance",
        help="Spread each layer's scale over its factors; the function stays the same.",
        rich_help_panel=LAYERS,
    ),
]


@dataclass(frozen=True)
class RankOptions:
    """A rank rule or a budget, one of them."""

    energy: EnergyShare = None
    singular_sum: SingularShare = None
    relative_error: ErrorBound = None
    ranks: FixedRanks = None
    vbmf: BayesianRanks = False
    budget_params: BudgetParams = None
    budget_macs: BudgetMacs = None
    budget_speedup: BudgetSpeedup = None
    budget_ms: BudgetMilliseconds = None
    runtime: Runtime = "torch"
    threads: Threads = None
    batch: TimedBatch = None
    round_to: RoundTo = 1

    def read(self) -> tuple[RankRule | None, Budget | None]:
        """The one rule or budget that was given.

        Raises:
            TensorpressError: none or several of them, or one outside its range.
        """
        rules, budget = self._rules(), self._budget()
        if len(rules) + (budget is not None) != 1:
            given = "several" if rules else "none"
            raise TensorpressError(
                f"{given} of --energy, --singular-sum, --relative-error, --ranks and "
                "--budget-params / --budget-macs was given: give one, such as --energy 0.8 or "
                "--budget-params 4."
            )
        return (rules[0] if rules else None), budget

    def _rules(self) -> list[RankRule]:
        rules: list[RankRule] = []
        if self.energy is not None:
            rules.append(Energy(self.energy))
        if self.singular_sum is not None:
            rules.append(SingularSum(self.singular_sum))
        if self.relative_error is not None:
            rules.append(RelativeError(self.relative_error))
        if self.vbmf:
            rules.append(VBMF())
        if self.ranks is not None:
            rules.append(Ranks(*read_ranks(self.ranks)))
        return rules

    def _budget(self) -> Budget | None:
        costs = (self.budget_params, self.budget_macs)
        times = (self.budget_speedup, self.budget_ms)
        if (*costs, *times) == (None,) * 4:
            return None
        if times == (None, None):
            return Budget(*costs)
        return Budget(
            *costs,
            speedup=self.budget_speedup,
            milliseconds=self.budget_ms,
            runtime=self.runtime,
            threads=self.threads,
            batch=self.batch,
        )


@dataclass(frozen=True)
class SelectionOptions:
    """Which layers may be decomposed."""

    include: Include = None
    exclude: Exclude = None
    skip_first: SkipFirst = True

    def arguments(self) -> dict[str, Any]:
        """What :func:`tensorpress.compress` takes."""
        return {
            "include": tuple(self.include) if self.include else None,
            "exclude": tuple(self.exclude or ()),
            "skip_first": self.skip_first,
        }


@dataclass(frozen=True)
class MethodOptions(SelectionOptions):
    """Which layers are decomposed, and how."""

    linear: Linear = False
    balance: Balance = False
    method: Method = "ttpwt"

    def arguments(self) -> dict[str, Any]:
        own = {"method": self.method, "linear": self.linear, "balance": self.balance}
        return super().arguments() | own
