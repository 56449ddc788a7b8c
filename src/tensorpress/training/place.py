"""Where training runs: a device, and this process's part among those of ``accelerate launch``."""

import atexit
import dataclasses
import os
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from tensorpress.errors import TensorpressError, shown

Shared = TypeVar("Shared")


@dataclasses.dataclass(frozen=True)
class Place:
    """The device of this process, its number ``rank`` and how many processes work together."""

    device: torch.device
    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and reports."""
        return self.rank == 0

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor, in place, by its mean over the processes, in one exchange."""
        if self.world == 1 or not tensors:
            return
        mean = _accelerate_utils().reduce(torch.cat([t.flatten() for t in tensors]), "mean")
        parts = mean.split([t.numel() for t in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of ``tensor`` over the processes."""
        return tensor if self.world == 1 else _accelerate_utils().reduce(tensor, "sum")

    def share(self, value: Shared) -> Shared:
        """The main process's ``value``, in every process."""
        if self.world == 1:
            return value
        values = [value]
        _accelerate_utils().broadcast_object_list(values, from_process=0)
        return values[0]


def find_place(device: str | None = None) -> Place:
    """The device to train on, ``"cuda"`` where there is one, and the processes launched together.

    Processes are found when the programme runs under ``accelerate launch`` (or ``torchrun``).

    Raises:
        TensorpressError: the device does not exist here, or Accelerate is needed and missing.
    """
    wanted = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return _launched(on_cpu=wanted == "cpu")
    try:
        place = Place(torch.empty(0, device=wanted).device)
        torch.Generator(place.device)  # which "meta" has not
        return place
    except (RuntimeError, AssertionError) as error:
        raise TensorpressError(
            f"no device {shown(wanted)} here; leave the device out, or name one that torch sees."
        ) from error


PATIENCE = timedelta(hours=24)
"""How long processes wait for each other, such as for the one that compresses."""


def _launched(*, on_cpu: bool) -> Place:
    try:
        from accelerate import PartialState
    except ImportError as error:
        raise TensorpressError(
            "several processes were launched, and that needs Hugging Face Accelerate: "
            "pip install 'tensorpress[train]', or start one process."
        ) from error
    # Its functions take the group of all processes as a default, which they would keep alive past
    # its end, with threads that abort the process; a group that is not there yet they cannot.
    import torch.distributed.nn.functional  # noqa: F401

    state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    atexit.unregister(end_communication)
    atexit.register(end_communication)
    return Place(state.device, state.process_index, state.num_processes)


def end_communication() -> None:
    """End the communication; a thread of it that is left at the end aborts the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _accelerate_utils() -> Any:
    import accelerate.utils

    return accelerate.utils
