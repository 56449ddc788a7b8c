"""What a runtime does with a network that is not ours, its errors in one line."""

from collections.abc import Callable
from typing import TypeVar

from tensorpress.deploy.cause import first_cause
from tensorpress.deploy.runtimes import RUNTIMES, Runtime
from tensorpress.errors import TensorpressError

Result = TypeVar("Result")


def trying(kind: Runtime, work: Callable[[], Result]) -> Result:
    """The result of some work of a runtime.

    Raises:
        TensorpressError: whatever it raised.
    """
    try:
        return work()
    except TensorpressError:
        raise
    except Exception as error:
        raise TensorpressError(
            f"{kind.name} cannot run the network ({first_cause(error)}); try another of the "
            f"runtimes {', '.join(RUNTIMES)}."
        ) from error
