"""Muon: momentum whose steps are orthogonalised, matrix by matrix."""

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
        self._alike: dict[tuple[int, ...], list[nn.Parameter]] = defaultdict(list)
        for weight, groups in matrices:
            self.state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            rows = weight.shape[0] // groups
            self._alike[groups, rows, weight[0].numel()].append(weight)
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
        for shape, weights in self._alike.items():
            moving = [weight for weight in weights if weight.grad is not None]
            if moving:
                self._move(moving, shape)
        if self._adamw is not None:
            self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: Any) -> None:
        """Refused: see the class."""
        raise NotImplementedError("fill the tensors of Muon's state in place instead.")

    def _move(self, weights: list[nn.Parameter], shape: tuple[int, ...]) -> None:
        """One step of weights that are matrices of the same (groups, rows, columns)."""
        settings = self.param_groups[0]
        lr, momentum = settings["lr"], settings["momentum"]
        steps = []
        for weight in weights:
            gradient = cast(Tensor, weight.grad)
            average = self.state[weight]["momentum_buffer"].lerp_(gradient, 1 - momentum)
            steps.append(gradient.lerp(average, momentum).reshape(shape))
        moves = newton_schulz(torch.stack(steps)) * (lr * RMS_OF_ADAM * math.sqrt(max(shape[1:])))
        for weight, move in zip(weights, moves, strict=True):
            weight.mul_(1 - lr * settings["weight_decay"]).sub_(move.reshape(weight.shape))


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
