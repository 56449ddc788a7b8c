"""Tensors that have a shape and no values, for results of a pass that nobody reads any more."""

from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.layers.storage import storage_of


@dataclass(frozen=True)
class Blank:
    """What is left of a tensor: its layout in memory."""

    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    nbytes: int

    @classmethod
    def of(cls, tensor: Tensor) -> "Blank":
        nbytes = tensor.untyped_storage().nbytes()
        return cls(tensor.size(), tensor.stride(), tensor.dtype, tensor.device, nbytes)


class Blanks:
    """Makes tensors for blanks, all in one piece of memory, and knows them and their views.

    Nobody writes there, so that on a processor the piece takes no memory either. Tensors that each
    had their own would leave holes in the heap.

    Args:
        glaring: fill it with NaN, so that it shows who reads it unseen.
    """

    def __init__(self, glaring: bool) -> None:
        self.glaring = glaring
        self._pieces: list[Tensor] = []

    def tensor(self, blank: Blank) -> Tensor:
        return torch.empty(0, dtype=blank.dtype, device=blank.device).set_(
            self._piece(blank.nbytes, blank.device).untyped_storage(), 0, blank.size, blank.stride
        )

    def __contains__(self, tensor: Tensor) -> bool:
        return any(storage_of(tensor) == storage_of(piece) for piece in self._pieces)

    def _piece(self, nbytes: int, device: torch.device) -> Tensor:
        for piece in self._pieces:
            if piece.device == device and len(piece) >= nbytes:
                return piece
        made = torch.empty(nbytes, dtype=torch.uint8, device=device)
        if self.glaring:
            made.fill_(255)  # all bits: NaN in every floating-point format
        self._pieces.append(made)
        return made
