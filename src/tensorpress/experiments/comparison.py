"""What is compared, and what a row of a comparison tells."""

import dataclasses

from tensorpress.choices import AUTO as OWN_PRECISION
from tensorpress.choices import INT8
from tensorpress.cores import refuse_threads
from tensorpress.deploy.planning.setting import usable
from tensorpress.errors import refuse_no_seed
from tensorpress.request import Calibration
from tensorpress.training import Recipe

DENSE = "dense"
"""The method of the row that is the network as it is, in int8."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What is compared, and how.

    Attributes:
        methods: by name, of decompositions and of criteria to prune by.
        budgets: MAC ratios (FCR) to reach.
        recipe: of the fine-tuning, the same for all; 0 epochs is none.
        teacher: fine-tune with the dense network as the teacher.
        calibration_images: training images to compress with, which decompositions take without
            their labels and "taylor" with them; 0 is without, but for 1,024 for "taylor".
        runtime, threads, batch: what milliseconds are measured in.
        int8: also every network in int8, and the network as it is.
        seed: of the images' order and augmentation.
        fold_parametrizations: take the weights that weight norm, spectral norm and masks come to.
    """

    methods: tuple[str, ...]
    budgets: tuple[float, ...]
    recipe: Recipe
    teacher: bool = False
    calibration_images: int = 0
    runtime: str = "torch"
    threads: int = 1
    batch: int = 1
    seed: int = 0
    int8: bool = False
    fold_parametrizations: bool = False

    def calibration(self) -> Calibration | None:
        """What decompositions are calibrated by.

        Raises:
            TensorpressError: too few images.
        """
        return Calibration(self.calibration_images) if self.calibration_images else None

    def refuse_impossible(self) -> None:
        """Raise for what no method could do, before any work is done.

        Raises:
            TensorpressError: a runtime that is not there, or without int8 where that is asked for;
                or a seed, or a number of threads or of images to calibrate on, that is none.
        """
        refuse_no_seed(self.seed)
        usable(self.runtime, INT8 if self.int8 else OWN_PRECISION)
        refuse_threads(self.threads)
        self.calibration()


@dataclasses.dataclass(frozen=True)
class Row:
    """One method at one budget in one precision.

    Attributes:
        network, data, method, budget: what was done; the budget is the FCR asked for.
        pcr, fcr, params, macs: what it came to.
        acc_baseline, acc_before, acc: accuracy on the test images in percent, of the dense network,
            right after compression and after ``epochs`` of fine-tuning.
        dacc: ``acc - acc_baseline``, in points.
        images, stderr: behind ``acc``, and its standard error in points.
        milliseconds, milliseconds_dense: of a forward pass as planned, and of the dense network.
        precision: "auto", the runtime's own of ``milliseconds`` and float32 of the accuracies, or
            "int8" of both.
        seconds: that the compression took.
        reason: why there are no figures, where the method failed; they are None then.
    """

    network: str
    data: str
    method: str
    budget: float
    pcr: float | None = None
    fcr: float | None = None
    params: int | None = None
    macs: int | None = None
    acc_baseline: float | None = None
    acc_before: float | None = None
    acc: float | None = None
    dacc: float | None = None
    images: int | None = None
    stderr: float | None = None
    epochs: int = 0
    seed: int = 0
    milliseconds: float | None = None
    milliseconds_dense: float | None = None
    seconds: float | None = None
    reason: str = ""
    command: str = ""
    machine: str = ""
    precision: str = OWN_PRECISION

    @property
    def name(self) -> str:
        """The method, and int8 where it is in that."""
        return self.method if self.precision == OWN_PRECISION else f"{self.method}, int8"
