"""Options of the commands that train, and what they mean."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tensorpress.cli.options import OUTPUT, TRAINING, DryRun, Trained
from tensorpress.errors import TensorpressError

if TYPE_CHECKING:
    from tensorpress.training import Distillation, Settings

CALIBRATION_IMAGES = 2000
"""Training images, without labels, that a run compresses with where no number is given."""
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The run's folder. The same command again goes on where it stopped.",
        rich_help_panel=OUTPUT,
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(
        "--epochs",
        help="Epochs of each phase; the recipe's milestones scale with it.",
        rich_help_panel=TRAINING,
    ),
]
TrainEpochs = Annotated[
    int | None,
    typer.Option(
        "--train-epochs",
        help="Epochs of the baseline alone; 0 takes --weights as they are.",
        rich_help_panel=TRAINING,
    ),
]
FinetuneEpochs = Annotated[
    int | None,
    typer.Option(
        "--finetune-epochs",
        help="Epochs of fine-tuning alone.",
        rich_help_panel=TRAINING,
    ),
]
Lr = Annotated[
    float | None,
    typer.Option(
        "--lr",
        help="Initial learning rate, in place of the recipe's.",
        rich_help_panel=TRAINING,
    ),
]
TrainLr = Annotated[
    float | None,
    typer.Option(
        "--lr",
        help="Initial learning rate of the baseline, in place of the recipe's.",
        rich_help_panel=TRAINING,
    ),
]
FinetuneLr = Annotated[
    float | None,
    typer.Option(
        "--finetune-lr",
        help="Initial learning rate of fine-tuning, in place of the recipe's.",
        rich_help_panel=TRAINING,
    ),
]
Paper = Annotated[
    bool,
    typer.Option(
        "--paper",
        help="Fine-tune by the paper's recipe, SGD in steps from 0.1 (VGGnet 0.01; networks that "
        "it does not have by cosine from 0.03), in place of ours, which is Muon at 0.002 by cosine "
        "for as many epochs.",
        rich_help_panel=TRAINING,
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        "--weight-decay",
        help="Weight decay, in place of the recipe's.",
        rich_help_panel=TRAINING,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        help="Images a step, for each process.",
        rich_help_panel=TRAINING,
    ),
]
Schedule = Annotated[
    str | None,
    typer.Option("--schedule", help="step or cosine.", rich_help_panel=TRAINING),
]
Optimizer = Annotated[
    str | None,
    typer.Option(
        "--optimizer",
        help="sgd, adamw or muon. By default sgd for a dense network, muon for fine-tuning; give "
        "the learning rate with another one.",
        rich_help_panel=TRAINING,
    ),
]
Mixup = Annotated[
    float | None,
    typer.Option(
        "--mixup",
        help="Mix the images of a batch, and their labels, in pairs by shares of Beta(alpha, "
        "alpha): give alpha, such as 1; 0 mixes none.",
        rich_help_panel=TRAINING,
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of all randomness.", rich_help_panel=TRAINING)]
HoldBack = Annotated[
    int,
    typer.Option(
        "--hold-back",
        help="Training images put aside to choose the best epoch; 0 takes the last.",
        rich_help_panel=TRAINING,
    ),
]
FreezeBn = Annotated[
    bool,
    typer.Option(
        "--freeze-bn",
        help="Keep batch-norm statistics as they are.",
        rich_help_panel=TRAINING,
    ),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        help="cpu, cuda, ...; by default a GPU if there is one.",
        rich_help_panel=TRAINING,
    ),
]
Compiled = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile",
        help="Compile the training step, which takes a minute and then saves a sixth of each step "
        "on a CPU; by default only on a GPU, in long phases.",
        rich_help_panel=TRAINING,
    ),
]
Bf16 = Annotated[
    bool | None,
    typer.Option(
        "--bf16/--no-bf16",
        help="Compute the passes of training in bfloat16, the weights staying in float32; by "
        "default on a GPU. A processor with bfloat16 instructions trains up to twice as fast.",
        rich_help_panel=TRAINING,
    ),
]
CheckpointMinutes = Annotated[
    float,
    typer.Option(
        "--checkpoint-minutes",
        help="How often the state within an epoch is kept; the same command goes on from there.",
        rich_help_panel=TRAINING,
    ),
]
Temperature = Annotated[
    float | None,
    typer.Option(
        "--temperature", help="Of the distillation; 4 by default.", rich_help_panel=TRAINING
    ),
]
Alpha = Annotated[
    float | None,
    typer.Option(
        "--alpha",
        help="Weight of the teacher, 0.9 by default; 1 learns without labels.",
        rich_help_panel=TRAINING,
    ),
]

Follow = Annotated[
    float | None,
    typer.Option(
        "--follow",
        help="Weight of the outputs of the decomposed layers, which then follow the teacher's; "
        "0 leaves them alone.",
        rich_help_panel=TRAINING,
    ),
]


TeacherFile = Annotated[
    Path | None,
    typer.Option(
        "--teacher",
        help="Weights of the dense network, to learn from it and be compared with it.",
        rich_help_panel=TRAINING,
    ),
]
TeacherEma = Annotated[
    bool,
    typer.Option(
        "--ema",
        help="Take the running average of the weights that --teacher holds beside them.",
        rich_help_panel=TRAINING,
    ),
]
TeacherAllowExtra = Annotated[
    bool,
    typer.Option(
        "--allow-extra",
        help="Leave out weights of --teacher that the network has no place for, and say how many.",
        rich_help_panel=TRAINING,
    ),
]


@dataclass(frozen=True)
class TeacherOptions:
    """The file of a teacher's weights, and how it is read."""

    teacher: TeacherFile = None
    ema: TeacherEma = False
    allow_extra: TeacherAllowExtra = False

    def trained(self) -> Trained:
        """The same as of any network's weights."""
        return Trained(self.teacher, self.ema, self.allow_extra)


@dataclass(frozen=True)
class TeachingOptions:
    """How to learn from a teacher."""

    temperature: Temperature = None
    alpha: Alpha = None
    follow: Follow = None

    def read(self, *, taught: bool) -> "Distillation | None":
        """How to learn, if there is a teacher.

        Raises:
            TensorpressError: a temperature or weights for a teacher that was not given.
        """
        from tensorpress.training import Distillation

        asked = {"temperature": self.temperature, "alpha": self.alpha, "layers": self.follow}
        given = {name: value for name, value in asked.items() if value is not None}
        if taught:
            return Distillation(**given)
        if given:
            raise TensorpressError(
                "--temperature, --alpha and --follow are of a --teacher: give one too."
            )
        return None


@dataclass(frozen=True)
class RecipeOptions:
    """What of a recipe is changed, alike for all phases that it is of."""

    weight_decay: WeightDecay = None
    batch_size: BatchSize = None
    schedule: Schedule = None
    optimizer: Optimizer = None
    mixup: Mixup = None

    def changes(self, epochs: int | None, lr: float | None) -> dict[str, Any]:
        """What :meth:`Recipe.changed` takes; None leaves what the recipe says."""
        return {"epochs": epochs, "lr": lr, **asdict(self)}


@dataclass(frozen=True)
class LoopOptions:
    """How and where to train."""

    seed: Seed = 0
    hold_back: HoldBack = 0
    freeze_bn: FreezeBn = False
    device: Device = None
    compiled: Compiled = None
    bf16: Bf16 = None
    checkpoint_minutes: CheckpointMinutes = 10.0
    dry_run: DryRun = False

    def settings(self, command: str | None = None) -> "Settings":
        """For a run that ``command`` asks for.

        Raises:
            TensorpressError: a value out of its range, or a device that is not here.
        """
        from tensorpress.training import Settings, find_place

        find_place(self.device)
        return Settings(**asdict(self), command=command)


def first_given(*values: int | None) -> int | None:
    """The first of the values that is not None."""
    return next((value for value in values if value is not None), None)
