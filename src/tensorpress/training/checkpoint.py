"""Checkpoint files: whole or refused, and read without running any code."""

import io
from pathlib import Path
from typing import Any

import torch

from tensorpress.errors import TensorpressError
from tensorpress.files import altered_record, write_whole

KEYS = {"phase", "epochs_done", "lr", "seed", "best", "model", "optimizer"}


def write_checkpoint(paths: list[Path], state: dict[str, Any]) -> None:
    """Write the same bytes to each path, aside and then renamed.

    Raises:
        TensorpressError: a file cannot be written; the one before it is as it was.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    for path in paths:
        write_whole(path, content)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state in ``path``, its tensors on the CPU.

    Raises:
        TensorpressError: there is no such file, or it is cut short, damaged (checked by CRC) or no
            checkpoint.
    """
    try:
        damaged = altered_record(path)
        if damaged is not None:
            raise TensorpressError(f"{path} is damaged: {damaged}.")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except TensorpressError:
        raise
    except FileNotFoundError as error:
        raise TensorpressError(f"there is no {path}.") from error
    except Exception as error:  # torch.load raises many kinds on files that are not its own
        raise TensorpressError(f"{path} cannot be read: it is damaged or cut short.") from error
    if not isinstance(state, dict) or not state.keys() >= KEYS:
        raise TensorpressError(f"{path} is no checkpoint of a tensorpress run.")
    return state
