"""Networks with recurrent layers are pruned around these."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import tensorpress as tp
from tensorpress.compression.pruning.stand_ins import RecurrentStandIn

CLIP = torch.zeros(2, 4, 9)
KINDS: dict[str, Callable[..., nn.RNNBase]] = {"RNN": nn.RNN, "GRU": nn.GRU, "LSTM": nn.LSTM}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "both ways": {"bidirectional": True},
    "two layers": {"num_layers": 2},
}


def last_step(layer: Any, x: Tensor) -> Tensor:
    return layer(x)[0][:, -1]


def last_state(layer: Any, x: Tensor) -> Tensor:
    _, state = layer(x)
    state = state[1] if isinstance(state, tuple) else state
    return torch.cat([state[-2], state[-1]], 1) if layer.bidirectional else state[-1]


def begun(layer: Any, x: Tensor) -> Tensor:
    """From a state of its own making, whose size it asks the layer for."""
    count = layer.num_layers * (2 if layer.bidirectional else 1)
    state = x.mean(1)[:, : layer.hidden_size].expand(count, -1, -1).contiguous()
    layer.flatten_parameters()
    given = (state, state) if layer.mode == "LSTM" else state
    return layer(x, given)[0].mean(1)


def packed(layer: Any, x: Tensor) -> Tensor:
    given = pack_padded_sequence(x, torch.tensor([9, 7]), batch_first=True)
    return pad_packed_sequence(layer(given)[0], batch_first=True)[0].mean(1)


class Listening(nn.Module):
    def __init__(self, kind: str, settings: dict[str, Any], read: Callable[..., Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv1d(4, 16, 3, padding=1), nn.Conv1d(16, 12, 3, padding=1)
        self.steps = KINDS[kind](12, 10, batch_first=True, **settings)
        self.c = nn.Linear(20 if self.steps.bidirectional else 10, 16)
        self.d, self.read = nn.Linear(16, 5), read

    def forward(self, x: Tensor) -> Tensor:
        heard = torch.relu(self.b(torch.relu(self.a(x)))).transpose(1, 2)
        return self.d(torch.relu(self.c(self.read(self.steps, heard))))


@pytest.mark.parametrize("read", [last_step, last_state, begun, packed])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_channels_go_around_it(kind: str, settings: str, read: Callable[..., Tensor]) -> None:
    net = Listening(kind, SETTINGS[settings], read).eval()
    result = tp.prune(net, CLIP, budget=tp.Budget(macs=1.1), linear=True)
    rows = {row.name: row for row in result.layers}
    assert rows["b"].decision.startswith("kept: tied to 'steps' (a recurrent layer, which stays wh")
    assert "filters" in rows["a"].decision
    assert "filters" in rows["c"].decision
    model, wanted = result.model, copy.deepcopy(net)
    assert all(map(torch.equal, model.steps.parameters(), net.steps.parameters()))
    with torch.no_grad():
        for layer, reader in (("a", "b"), ("c", "d")):
            left = {*map(_bytes, model.get_submodule(layer).weight)}
            weights = net.get_submodule(layer).weight
            gone = [n for n, row in enumerate(weights) if _bytes(row) not in left]
            assert gone
            wanted.get_submodule(reader).weight[:, gone] = 0
        x = torch.randn(CLIP.shape, generator=torch.Generator().manual_seed(1))
        torch.testing.assert_close(model(x), wanted(x))


class Stepping(nn.Module):
    """A cell that goes on from what another convolution gives it."""

    def __init__(self, cell: nn.RNNCellBase) -> None:
        super().__init__()
        self.a, self.b = nn.Conv1d(4, 16, 3, padding=1), nn.Conv1d(16, 12, 3, padding=1)
        self.takes_two = isinstance(cell, nn.LSTMCell)
        self.begin, self.cell, self.d = nn.Conv1d(16, 10, 1), cell, nn.Linear(10, 5)

    def forward(self, x: Tensor) -> Tensor:
        heard = torch.relu(self.a(x))
        state: Any = self.begin(heard).mean(2)
        state = (state, state) if self.takes_two else state
        for step in torch.relu(self.b(heard)).unbind(2):
            state = self.cell(step, state)
        return self.d(state[0] if isinstance(state, tuple) else state)


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_channels_go_around_cells(cell: Callable[..., nn.RNNCellBase]) -> None:
    net = Stepping(cell(12, 10)).eval()
    result = tp.prune(net, CLIP, budget=tp.Budget(macs=1.1))
    decisions = {row.name: row.decision for row in result.layers}
    tied = "kept: tied to 'cell' (a recurrent layer, which stays whole)"
    assert decisions["b"].startswith(tied)
    assert decisions["begin"].startswith(tied)
    assert "of 16 filters" in decisions["a"]
    assert result.model(CLIP).shape == (2, 5)


def _bytes(row: Tensor) -> bytes:
    return row.detach().numpy().tobytes()


@pytest.mark.parametrize("length", [1, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_of_a_stand_in_does_not_grow_with_the_sequence(kind: str, length: int) -> None:
    layer = KINDS[kind](6, 4, num_layers=2, bidirectional=True)
    stand_in = RecurrentStandIn(layer)
    given = torch.randn(length, 3, 6)
    found, wanted = stand_in(given), layer(given)
    shapes = [
        [tensor.shape for tensor in (one[0], *(one[1] if kind == "LSTM" else one[1:]))]
        for one in (found, wanted)
    ]
    assert shapes[0] == shapes[1]
    assert _nodes(found[0]) < 10


def _nodes(tensor: Tensor) -> int:
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [after for after, _ in node.next_functions]
    return len(seen)
