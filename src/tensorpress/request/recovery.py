"""Which steps of recovery are taken."""

from dataclasses import dataclass

from tensorpress.errors import TensorpressError, refuse_no_flag, refuse_no_seed, shown


@dataclass(frozen=True)
class Recovery:
    """The steps that a compression with calibration images takes; each can be switched off.

    Attributes:
        data_aware: decompose under the metric of what each layer is fed.
        allocate: spread a budget so that the answers change least, layer by layer measured; off,
            one energy threshold serves for the whole network.
        reconstruct: fit each layer to the original's output, fed by the layers already compressed.
        statistics: take the batch-norm statistics again.
        sweeps: of alternating least squares over the cores of a layer.
        distil_epochs: of label-free distillation over the calibration images; 0 for none. With
            any, a tenth of the images is held back from all steps, to judge it by.
        seed: of all randomness.
    """

    data_aware: bool = True
    allocate: bool = True
    reconstruct: bool = True
    statistics: bool = True
    sweeps: int = 2
    distil_epochs: int = 30
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_no_flag(
            data_aware=self.data_aware,
            allocate=self.allocate,
            reconstruct=self.reconstruct,
            statistics=self.statistics,
        )
        refuse_no_seed(self.seed)
        for name in ("sweeps", "distil_epochs"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise TensorpressError(
                    f"Recovery({name}={shown(value)}): give a whole number, 0 or up."
                )
        if self.reconstruct and not self.data_aware:
            raise TensorpressError(
                "Recovery(reconstruct=True, data_aware=False): the reconstruction is data-aware; "
                "switch both off."
            )


def read_recovery(recover: bool | Recovery) -> Recovery:
    """``recover`` of `compress`: True for all steps, False for those in closed form."""
    if isinstance(recover, Recovery):
        return recover
    if not isinstance(recover, bool):
        raise TensorpressError(f"recover={shown(recover)}: give True, False or a Recovery.")
    return Recovery() if recover else Recovery(distil_epochs=0)
