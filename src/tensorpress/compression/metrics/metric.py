"""What a network's layers are measured by, and fitted under: kernels, or what they are fed."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from torch import nn

from tensorpress.compression.options.measured import MeasuredLayer
from tensorpress.compression.options.task import LayerOption, LayerTask, Pick
from tensorpress.decompose import RankRule
from tensorpress.request.request import Calibration


class NetworkMetric(ABC):
    """How options are compared and fitted in a whole network.

    Attributes:
        spreads_by_loss: whether a budget of ratios is spread by what layers lose; otherwise one
            step of the treatment's rules serves for all of them.
        progress: False for none; see :func:`tensorpress.progress.progress_bar`.
    """

    spreads_by_loss: bool = False

    def __init__(self, *, progress: bool | None = None) -> None:
        self.progress = progress

    @abstractmethod
    def by_rules(self, tasks: Sequence[LayerTask], rules: Mapping[str, RankRule]) -> list[Pick]:
        """What the rules give, by the layers' names."""

    @abstractmethod
    def measured(self, tasks: Sequence[LayerTask]) -> list[MeasuredLayer]:
        """What each layer would cost and lose in each of its options.

        Args:
            tasks: of a layer there may be several, one for each treatment.
        """

    @abstractmethod
    def fit(self, picks: Sequence[Pick]) -> list[LayerOption]:
        """The replacements that were picked.

        Args:
            picks: of different layers, in order of execution.
        """

    def as_request(self) -> Calibration | None:
        """How it was asked for; None for kernels alone."""
        return None

    @abstractmethod
    def finish(self, model: nn.Module) -> None:
        """What is done to the compressed network in the end, in place."""
