"""Muon: momentum whose steps are orthogonalised, matrix by matrix."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from tensorpress.layers.kinds import CONVOLUTIONS
from tensorpress.training.adamw import adamw

Matrix = tuple[nn.Parameter, int]
"""A convolution's weight (T, C/groups, D1, ..., Dd) and its number of groups."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
LEAST_NORM = 1e-7
"""A smaller matrix is a momentum that has died away, and stays small."""
RMS_OF_ADAM = 0.2
"""The usual root mean square of AdamW's steps in units of its learning rate."""


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for the weights of convolutions, and AdamW for all other ones.

    A kernel (T, C, D1, ..., Dd) is the matrix (T, C D1 ... Dd), one for each group. Its step is the
    polar factor of its momentum (Nesterov's), so that the directions in which the gradient is small
    move as far as those in which it is large; the sublayers of a decomposed convolution have many
    such. The step is as long as one of AdamW, with which it shares the learning rate (Liu et al.,
    2025, eq. 4), and the weights decay as there.

    ``lr`` may be a tensor on the device, for a step that is recorded. AdamW's state and settings
    stand in ``state`` and ``param_groups`` with Muon's, to be filled in place:
    ``load_state_dict``, which replaces them, is refused.
    """

    def __init__(
        self,
        matrices: Sequence[Matrix],
        others: Sequence[nn.Parameter],
        *,
        lr: float | Tensor,
        momentum: float,
        weight_decay: float,
        capturable: bool = False,
    ) -> None:
        settings = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__([weight for weight, _ in matrices], settings)
        self._by_size: dict[tuple[int, int], list[_Held]] = defaultdict(list)
        for weight, groups in matrices:
            self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            held = _Held(weight, (groups, weight.shape[0] // groups, weight[0].numel()))
            self._by_size[held.size].append(held)
        self._adamw: torch.optim.AdamW | None = None
        if others:
            self._adamw = adamw(others, lr, momentum, weight_decay, capturable=capturable)
            self.param_groups += self._adamw.param_groups
            self.state.update(self._adamw.state)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move every weight that has a gradient; ``closure`` as in PyTorch's optimisers."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        steps = self._steps()
        moves: dict[Tensor, Tensor] = {}
        for size, alike in self._by_size.items():
            moving = [held for held in alike if held.weight in steps]
            if moving:
                moves |= _orthogonalised(moving, steps, size)
        if moves:
            lr = self.param_groups[0]["lr"]
            taken = list(moves.values())
            torch._foreach_mul_(taken, lr)
            torch._foreach_sub_(list(moves), taken)
        if self._adamw is not None:
            self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: Any) -> None:
        """Refused: see the class."""
        raise NotImplementedError("fill the tensors of Muon's state in place instead.")

    def _steps(self) -> dict[Tensor, Tensor]:
        """Nesterov's momentum of every weight that has a gradient; the weights decay."""
        settings = self.param_groups[0]
        momentum, decay = settings["momentum"], settings["lr"] * settings["weight_decay"]
        moving: list[Tensor] = [
            held.weight
            for alike in self._by_size.values()
            for held in alike
            if held.weight.grad is not None
        ]
        if not moving:
            return {}
        gradients = [cast(Tensor, weight.grad) for weight in moving]
        averages = [self.state[weight]["momentum_buffer"] for weight in moving]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        torch._foreach_mul_(moving, 1 - decay)
        return dict(zip(moving, torch._foreach_lerp(gradients, averages, momentum), strict=True))


@dataclasses.dataclass(frozen=True)
class _Held:
    """A weight as ``shape`` = (groups, rows, columns): so many matrices."""

    weight: nn.Parameter
    shape: tuple[int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Of the matrix that each is put into, lying down, with zeros beside it.

        A network has few sizes but hundreds of shapes, each of which would take its own kernels.
        Zeros change nothing of a polar factor.
        """
        low, high = sorted(self.shape[1:])
        return _up(low), _up(high)

    @property
    def length(self) -> float:
        """Of a step at a learning rate of 1, as one of AdamW."""
        return RMS_OF_ADAM * math.sqrt(max(self.shape[1:]))

    def within(self, padded: Tensor) -> Tensor:
        """The view of ``padded`` (groups, *size) in which the matrices lie."""
        _, rows, columns = self.shape
        if rows > columns:
            return padded[:, :columns, :rows].mT
        return padded[:, :rows, :columns]


def _up(length: int) -> int:
    """The next power of two, from 64 on the next multiple of 64."""
    return -(-length // 64) * 64 if length > 64 else 1 << (length - 1).bit_length()


def _orthogonalised(
    held: list[_Held], steps: dict[Tensor, Tensor], size: tuple[int, int]
) -> dict[Tensor, Tensor]:
    """The steps of weights whose matrices fit into ``size``, for a learning rate of 1."""
    counts = [one.shape[0] for one in held]
    stacked = held[0].weight.new_zeros(sum(counts), *size)
    places = [
        one.within(part) for one, part in zip(held, torch.split(stacked, counts), strict=True)
    ]
    torch._foreach_copy_(places, [steps[one.weight].reshape(one.shape) for one in held])
    moves = torch.split(newton_schulz(stacked), counts)
    taken = [one.within(p).reshape(one.weight.shape) for one, p in zip(held, moves, strict=True)]
    torch._foreach_mul_(taken, [one.length for one in held])
    return {one.weight: move for one, move in zip(held, taken, strict=True)}


def newton_schulz(matrices: Tensor) -> Tensor:
    """About the polar factor ``U V^T`` of matrices (..., m, n) = ``U S V^T``.

    Five steps of the Newton-Schulz iteration of fifth order with the coefficients of Jordan et al.
    bring singular values of more than a hundredth of the norm to between 0.7 and 1.2.
    """
    a, b, c = NEWTON_SCHULZ
    upright = matrices.shape[-2] > matrices.shape[-1]
    x: Tensor = matrices.mT if upright else matrices
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=LEAST_NORM)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if upright else x


def matrices_of(net: nn.Module) -> list[Matrix]:
    """The kernels of the convolutions of ``net`` that ask for gradients, each of them once."""
    found = {
        id(layer.weight): (layer.weight, layer.groups)
        for layer in net.modules()
        if isinstance(layer, CONVOLUTIONS)
        and isinstance(layer.weight, nn.Parameter)
        and layer.weight.requires_grad
    }
    return list(found.values())
