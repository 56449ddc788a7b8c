"""States of networks as they know them themselves, and what they take."""

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn


def versioned(net: nn.Module, tensors: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Tensors by name as a state dict of ``net``, with the versions that its modules are of.

    Some modules read what older ones wrote by other rules, and refuse what tells no version, as
    torchvision's MNASNet does.
    """
    state = OrderedDict(tensors)
    state._metadata = net.state_dict()._metadata  # type: ignore[attr-defined]
    return state


def held_bytes(net: nn.Module) -> int:
    """The bytes of the parameters and buffers of ``net``, each counted once."""
    held = [*net.parameters(), *net.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in held)
