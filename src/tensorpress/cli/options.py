"""Options that several commands share, and what they mean."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from tensorpress.allocate import Budget
from tensorpress.decompose import VBMF, Energy, RankRule, Ranks, RelativeError, SingularSum
from tensorpress.deploy import RUNTIMES
from tensorpress.errors import TensorpressError
from tensorpress.layers import METHODS

N = TypeVar("N", int, float)

NETWORK = "Network"
RANKS = "How much to keep (one of these)"
TIME = "A budget of time"
LAYERS = "Which layers"
CALIBRATION = "Accuracy from unlabelled images"
DATA = "Data"
TRAINING = "Training"

Net = Annotated[
    str | None,
    typer.Option(
        "--net",
        help="A network of the paper (resnet20, 32, 44, 56, 110, vggnet, tt_conv_cnn; "
        "tt_conv_1 to _4: tensor trains from scratch) or your own as "
        "package.module:function, which is called and gives the module.",
        rich_help_panel=NETWORK,
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        help="Trained weights: a state_dict in .pth, .pt, .th or .safetensors. Never unpickled "
        "with code.",
        rich_help_panel=NETWORK,
    ),
]
InputShape = Annotated[
    str | None,
    typer.Option(
        "--input-shape",
        help="Channels and size of an input without the batch, such as 3,224,224. By default "
        "that of --data, else 3,32,32.",
        rich_help_panel=NETWORK,
    ),
]
Classes = Annotated[
    int | None,
    typer.Option(
        "--classes",
        min=1,
        help="Number of classes; by default those of --data, else 10.",
        rich_help_panel=NETWORK,
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="digits, cifar10, cifar100, a folder in CIFAR's binary layout, or a folder of images "
        "by class (train/CLASS/*, test/CLASS/*).",
        rich_help_panel=DATA,
    ),
]
Mean = Annotated[
    str | None,
    typer.Option(
        "--mean",
        help="Mean of each channel for pixels in 0..1, such as 0.485,0.456,0.406. By default the "
        "data's own: ImageNet's for CIFAR, as the common weight files expect.",
        rich_help_panel=DATA,
    ),
]
Std = Annotated[
    str | None,
    typer.Option(
        "--std", help="Standard deviation of each channel, likewise.", rich_help_panel=DATA
    ),
]
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

Calibrate = Annotated[
    str | None,
    typer.Option(
        "--calibrate",
        help="Keep accuracy with unlabelled images: data as --data takes it, whose training "
        "images are used, or a folder with images in it.",
        rich_help_panel=CALIBRATION,
    ),
]
CalibrationImages = Annotated[
    int,
    typer.Option(
        "--calibration-images",
        min=16,
        help="How many of them at most.",
        rich_help_panel=CALIBRATION,
    ),
]
Recover = Annotated[
    bool,
    typer.Option(
        "--recover/--no-recover",
        help="Also distil the network on the images; off, only what has a closed form.",
        rich_help_panel=CALIBRATION,
    ),
]


def read_rank(
    energy: float | None,
    singular_sum: float | None,
    relative_error: float | None,
    ranks: str | None,
    budget_params: float | None,
    budget_macs: float | None,
    *,
    vbmf: bool = False,
    timed: Mapping[str, Any] | None = None,
) -> tuple[RankRule | None, Budget | None]:
    """The one rank rule or budget that was given on the command line.

    ``timed`` holds what :class:`Budget` takes for a budget of time.

    Raises:
        TensorpressError: none or several of them, or one outside its range.
    """
    rules: list[RankRule] = []
    if energy is not None:
        rules.append(Energy(energy))
    if singular_sum is not None:
        rules.append(SingularSum(singular_sum))
    if relative_error is not None:
        rules.append(RelativeError(relative_error))
    if vbmf:
        rules.append(VBMF())
    if ranks is not None:
        rules.append(Ranks(*(_number(part, int, "--ranks", "8,12,6") for part in ranks.split(","))))
    time = dict(timed or {})
    is_timed = any(time.get(name) is not None for name in ("speedup", "milliseconds"))
    has_budget = is_timed or budget_params is not None or budget_macs is not None
    if len(rules) + has_budget != 1:
        given = "none" if not rules and not has_budget else "several"
        raise TensorpressError(
            f"{given} of --energy, --singular-sum, --relative-error, --ranks and --budget-params / "
            "--budget-macs was given: give one, such as --energy 0.8 or --budget-params 4."
        )
    if has_budget:
        return None, Budget(budget_params, budget_macs, **(time if is_timed else {}))
    return rules[0], None


def read_shape(text: str | None) -> tuple[int, ...] | None:
    """ "3,32,32" as (3, 32, 32)."""
    if text is None:
        return None
    shape = tuple(_number(part, int, "--input-shape", "3,224,224") for part in text.split(","))
    if min(shape) < 1:
        raise TensorpressError(f"--input-shape {text}: every size must be at least 1.")
    return shape


def read_channels(text: str | None, option: str) -> tuple[float, ...] | None:
    """ "0.5,0.5,0.5" as a tuple."""
    if text is None:
        return None
    return tuple(_number(part, float, option, "0.485,0.456,0.406") for part in text.split(","))


def read_numbers(text: str, option: str, example: str) -> list[float]:
    """ "2,4,8" as numbers."""
    return [_number(part, float, option, example) for part in text.split(",")]


def _number(text: str, kind: type[N], option: str, example: str) -> N:
    try:
        return kind(text)
    except ValueError:
        raise TensorpressError(
            f"{option}: '{text.strip()}' is no {'whole ' * (kind is int)}number; "
            f"write them like {example}."
        ) from None
