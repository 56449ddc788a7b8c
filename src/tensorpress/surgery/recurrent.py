"""Recurrent layers, of which PyTorch's own counter of operations sees little."""

from typing import Any

from torch import nn
from torch.nn.utils.rnn import PackedSequence

GATES = {nn.LSTM: 4, nn.GRU: 3, nn.RNN: 1, nn.LSTMCell: 4, nn.GRUCell: 3, nn.RNNCell: 1}
"""Of recurrent layers; what is derived from them may compute something else."""


def gates_of(module: nn.Module) -> int:
    """Of a recurrent layer that computes what PyTorch's do; 0 of all else."""
    if not isinstance(module, (nn.RNNBase, nn.RNNCellBase)):
        return 0
    forward = type(module).forward
    return next((gates for kind, gates in GATES.items() if forward is kind.forward), 0)  # type: ignore[attr-defined]


def recurrent_macs(module: Any, given: Any) -> int:
    """Each weight once for each step of each sequence."""
    steps = len(given.data) if isinstance(given, PackedSequence) else given[..., 0].numel()
    gates, hidden = gates_of(module), module.hidden_size
    if isinstance(module, nn.RNNCellBase):
        return int(steps * gates * hidden * (module.input_size + hidden))
    ways, gives = 1 + module.bidirectional, module.proj_size or hidden
    taken = [module.input_size, *[ways * gives] * (module.num_layers - 1)]
    each = sum(gates * hidden * (size + gives) + hidden * module.proj_size for size in taken)
    return int(steps * ways * each)
