"""Whether products of float32 matrices are what they say."""

import torch


def float32_is_full() -> bool:
    """Whether torch multiplies float32 matrices in float32, not in TF32 or bfloat16."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set by torch's newer switches, backend by backend
        return False
