"""Muon against PyTorch's own on matrices, numpy's singular vectors, and AdamW for the rest."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tensorpress.training import Recipe
from tensorpress.training.muon import matrices_of, newton_schulz
from tensorpress.training.optimizers import make_optimizer
from tensorpress.training.place import find_place

LR, DECAY, MOMENTUM, STEPS = 0.01, 1e-2, 0.9, 4


def net(groups: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=groups), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 5, (1, 2), bias=False), nn.Flatten(), nn.Linear(5 * 6 * 5, 3),
    ).eval()  # fmt: skip


def optimizer_of(module: nn.Module) -> torch.optim.Optimizer:
    recipe = Recipe(1, lr=LR, weight_decay=DECAY, momentum=MOMENTUM, optimizer="muon")
    return make_optimizer(module, recipe, find_place("cpu"))


def gradients(module: nn.Module, seed: int) -> None:
    torch.manual_seed(seed)
    module.zero_grad()
    cross_entropy(module(torch.randn(8, 4, 8, 8)), torch.randint(3, (8,))).backward()


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (7, 7), (3, 4, 12), (1, 6)])
def test_newton_schulz_keeps_the_singular_vectors(shape: tuple[int, ...]) -> None:
    given = np.random.default_rng(0).standard_normal(shape)
    given.reshape(-1, *shape[-2:])[0, :, 0] *= 30  # ill-conditioned, as gradients are
    left, values, right = np.linalg.svd(given, full_matrices=False)
    got = newton_schulz(torch.from_numpy(given)).numpy()
    turned = np.swapaxes(left, -1, -2) @ got @ np.swapaxes(right, -1, -2)
    diagonal = np.diagonal(turned, axis1=-2, axis2=-1)
    assert np.all((diagonal > 0.5) & (diagonal < 1.3)), values
    np.testing.assert_allclose(turned, np.eye(values.shape[-1]) * diagonal[..., None], atol=1e-9)


def test_of_nothing_it_is_nothing() -> None:
    assert torch.equal(newton_schulz(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("groups", [1, 4])
def test_a_kernel_whose_gradient_dies_comes_to_rest(groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, groups=groups, bias=False)
    optimizer = optimizer_of(layer)
    layer.weight.grad = torch.randn_like(layer.weight)
    optimizer.step()
    layer.weight.grad = torch.zeros_like(layer.weight)
    for _ in range(1000):
        before = layer.weight.detach().clone()
        optimizer.step()
    assert torch.isfinite(layer.weight).all()
    torch.testing.assert_close(layer.weight.detach(), before * (1 - LR * DECAY), rtol=1e-6, atol=0)


def test_steps_are_those_of_pytorch() -> None:
    """Its Newton-Schulz iteration is in bfloat16, so the moves agree to a few percent."""
    ours = net()
    kernels = [ours[0].weight, ours[3].weight]
    theirs = [nn.Parameter(kernel.detach().flatten(1).clone()) for kernel in kernels]
    start = [kernel.detach().clone() for kernel in theirs]
    optimizer = optimizer_of(ours)
    reference = torch.optim.Muon(
        theirs, lr=LR, weight_decay=DECAY, momentum=MOMENTUM, adjust_lr_fn="match_rms_adamw"
    )
    for step in range(STEPS):
        gradients(ours, step)
        for kernel, matrix in zip(kernels, theirs, strict=True):
            matrix.grad = kernel.grad.flatten(1).clone()
        optimizer.step()
        reference.step()
    for kernel, matrix, before in zip(kernels, theirs, start, strict=True):
        moved = (matrix - before).norm()
        assert (kernel.flatten(1) - matrix).norm() < 0.03 * moved


def test_everything_else_steps_as_adamw() -> None:
    ours, theirs = net(), net()
    rest = [p for name, p in theirs.named_parameters() if name not in {"0.weight", "3.weight"}]
    reference = torch.optim.AdamW(rest, lr=LR, betas=(MOMENTUM, 0.999), weight_decay=DECAY)
    optimizer = optimizer_of(ours)
    for step in range(STEPS):
        gradients(ours, step)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            b.grad = a.grad.clone()
        optimizer.step()
        reference.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if name not in {"0.weight", "3.weight"}:
            torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_each_group_is_a_matrix_of_its_own() -> None:
    grouped, halves = nn.Conv2d(4, 6, 3, groups=2), [nn.Conv2d(2, 3, 3) for _ in range(2)]
    for half, weight in zip(halves, grouped.weight.chunk(2), strict=True):
        half.weight.data.copy_(weight.detach())
    optimizers = [optimizer_of(grouped), *map(optimizer_of, halves)]
    torch.manual_seed(0)
    for _ in range(STEPS):
        grouped.weight.grad = torch.randn_like(grouped.weight)
        for half, part in zip(halves, grouped.weight.grad.chunk(2), strict=True):
            half.weight.grad = part.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(grouped.weight, torch.cat([half.weight for half in halves]))


@pytest.mark.parametrize("shape", [(6, 3, 3, 3), (70, 9, 1, 1), (5, 65, 1, 1), (1, 2, 3, 3)])
def test_matrices_that_are_moved_together_move_as_they_would_alone(shape: tuple[int, ...]) -> None:
    """Kernels of all shapes are one batch of padded matrices; one that has no gradient stays."""
    shapes = [(8, 3, 3, 3), (3, 8, 1, 1), (64, 9, 1, 1), shape]
    layers = [nn.Conv2d(s[1], s[0], s[2], bias=False) for s in shapes]
    alone = [nn.Parameter(layer.weight.detach().clone()) for layer in layers]
    together = optimizer_of(nn.ModuleList(layers))
    torch.manual_seed(0)
    for layer, kernel in zip(layers[1:], alone[1:], strict=True):
        layer.weight.grad = torch.randn_like(layer.weight)
        step = (1 - MOMENTUM**2) * layer.weight.grad  # Nesterov's first
        polar = newton_schulz(step.flatten(1)).reshape(step.shape)
        length = 0.2 * max(step.shape[0], step[0].numel()) ** 0.5
        kernel.data.mul_(1 - LR * DECAY).sub_(LR * length * polar)
    together.step()
    for layer, kernel in zip(layers, alone, strict=True):
        torch.testing.assert_close(layer.weight, kernel, rtol=1e-5, atol=1e-6)


def test_a_learning_rate_that_is_set_reaches_all() -> None:
    module = net()
    before = [p.detach().clone() for p in module.parameters()]
    optimizer = optimizer_of(module)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    gradients(module, 0)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), before, strict=True))


def test_a_shared_and_a_frozen_kernel() -> None:
    module = nn.Sequential(nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 1))
    module[1].weight = module[0].weight
    module[2].weight.requires_grad_(False)
    assert [id(weight) for weight, _ in matrices_of(module)] == [id(module[0].weight)]


def test_without_convolutions_it_is_adamw() -> None:
    assert type(optimizer_of(nn.Linear(3, 2))) is torch.optim.AdamW
