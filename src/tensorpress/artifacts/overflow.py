"""Numbers that another dtype cannot hold."""

from torch import Tensor

from tensorpress.errors import TensorpressError


def refuse_overflow(name: str, value: Tensor, narrow: Tensor, instead: str) -> None:
    """Raise where finite numbers became infinite.

    Args:
        narrow: ``value`` in the other dtype.
        instead: what to do about it.

    Raises:
        TensorpressError: some did.
    """
    lost = value.isfinite() & ~narrow.isfinite()
    if bool(lost.any()):
        raise TensorpressError(
            f"'{name}' holds {float(value[lost].abs().max()):.3g}, which {narrow.dtype} cannot: "
            f"{instead}."
        )
