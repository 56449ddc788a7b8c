"""What holds for every phase of a run."""

import dataclasses
from typing import Any

from tensorpress.data import Dataset
from tensorpress.errors import TensorpressError, refuse_no_seed, shown


@dataclasses.dataclass(frozen=True)
class Settings:
    """What holds for every phase of a run.

    Attributes:
        seed: of the untrained weights, the order of the images and their augmentation.
        freeze_bn: keep the running statistics of batch norms, and normalise by them.
        hold_back: training images put aside; a phase then ends with the weights of the epoch
            that does best on them. With 0 it ends with its last epoch. Test images choose nothing.
        compiled: compile the training step; None does so on a GPU, in long phases.
        bf16: compute the passes of training in bfloat16; None does so on a GPU.
        device: such as "cuda" or "cpu"; None takes a GPU where there is one.
        quiet: print nothing.
        dry_run: only check, and foresee what the run would do; nothing is written.
        checkpoint_minutes: within an epoch, how often its state is kept, besides at its end.
        command: the command line that asks for the run, to be kept with it.

    Raises:
        TensorpressError: a seed that torch does not take, or minutes that are not above 0.
    """

    seed: int = 0
    freeze_bn: bool = False
    hold_back: int = 0
    compiled: bool | None = None
    bf16: bool | None = None
    device: str | None = None
    quiet: bool = False
    dry_run: bool = False
    command: str | None = None
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        refuse_no_seed(self.seed)
        if not self.checkpoint_minutes > 0:
            raise TensorpressError(
                f"checkpoint_minutes={shown(self.checkpoint_minutes)} (--checkpoint-minutes): give "
                "more than 0."
            )

    def split(self, data: Dataset) -> Dataset:
        """The data with the images put aside that choose the epoch."""
        return data.hold_back(self.hold_back, self.seed) if self.hold_back else data

    def as_config(self) -> dict[str, Any]:
        """What of it sets a run apart; how fast it computes, where, and the command do not."""
        names = ("seed", "freeze_bn", "hold_back", "bf16")
        return {name: getattr(self, name) for name in names}
