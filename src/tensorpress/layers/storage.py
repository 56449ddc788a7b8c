"""What tells tensors that share their memory."""

import torch
from torch import Tensor


def storage_of(tensor: Tensor) -> int:
    """What tells the storage of a tensor from others that live."""
    with torch._C.DisableTorchFunctionSubclass():
        return int(tensor.untyped_storage()._cdata)
