"""A fingerprint of what a file holds, so that damage to it is seen."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def digest(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, in hex, of a manifest and of every tensor's name, dtype, shape and bytes.

    It tells of damage, not of malice: who alters a file can alter its digest with it.
    """
    state = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        state.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        state.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()
