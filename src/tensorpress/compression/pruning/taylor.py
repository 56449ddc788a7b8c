"""What the loss loses without a filter, to first order (Molchanov et al., 2019)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from tensorpress.compression.calibration import Answer, answer, batches, outputs
from tensorpress.compression.pruning.coupling import Coupled, Member
from tensorpress.compression.pruning.removal import differentiable
from tensorpress.errors import TensorpressError
from tensorpress.layers.kinds import kernel_of
from tensorpress.rows import Rows, read_images
from tensorpress.surgery import evaluating

BATCH = 32
"""Images whose mean gradient is squared; over all images it would vanish in a trained network."""


def taylor(
    net: nn.Module, groups: Sequence[Coupled], images: Rows, labels: Tensor | None
) -> dict[Coupled, Tensor]:
    """The squared change of the loss when a unit is gated to zero, a mean over batches.

    The gate stands behind the batch norm where there is one, ``(scale g_scale + shift g_shift)^2``,
    and else behind the filter, ``(sum w g_w + b g_b)^2``; a unit that several layers write has
    the sum. The loss is the cross-entropy with ``labels``, or without them with the class that
    the network itself answers.

    Args:
        images: (N, ...), or several tensors, as the network takes them.
        labels: classes, (N,).

    Raises:
        TensorpressError: images or labels of another kind, or no classifier.
    """
    copied = differentiable(net)
    read = read_images(images) if isinstance(images, Tensor) else images
    parts = batches(read, copied, BATCH)
    answers = outputs(copied, parts)
    classes = _classes(answers, labels).to(parts[0].device)
    scores = {coupled: torch.zeros(coupled.units, dtype=torch.float64) for coupled in groups}
    parameters = {name: p for name, p in copied.named_parameters() if p.requires_grad}
    with evaluating(copied), torch.enable_grad():
        for part, wanted in zip(parts, classes.tensor_split(len(parts)), strict=True):
            (logits,) = answer(copied, part)
            loss = functional.cross_entropy(logits.float(), wanted)
            found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
            gradients = dict(zip(parameters, found, strict=True))
            for coupled in groups:
                for member in coupled.members:
                    changes = _changes(copied.get_submodule(member.layer), member, gradients)
                    if changes is not None:
                        squares = changes.square()
                        sums = [squares[list(unit)].sum() for unit in member.channels]
                        scores[coupled] += torch.stack(sums) / len(parts)
    return scores


def _changes(layer: Any, member: Member, gradients: dict[str, Tensor]) -> Tensor | None:
    """By how much the loss changes without each channel of a layer, (channels,), in float64."""
    is_gate = isinstance(layer, _BatchNorm) and layer.affine
    is_filter = member.role == "writes" and not member.normalised
    if not is_gate and not is_filter:
        return None
    moved = layer.weight.detach() * gradients[f"{member.layer}.weight".lstrip(".")]
    if is_filter:
        moved = kernel_of(layer, moved)
    changes: Tensor = moved.double().flatten(1).sum(1) if moved.dim() > 1 else moved.double()
    if layer.bias is not None:
        changes = changes + layer.bias.detach() * gradients[f"{member.layer}.bias".lstrip(".")]
    return changes.cpu()


def _classes(given: Answer, labels: Tensor | None) -> Tensor:
    answers = given[0]
    if len(given) > 1 or answers.dim() != 2:
        shapes = " and ".join(str(tuple(head.shape)) for head in given)
        raise TensorpressError(
            "method='taylor' takes the loss of a classifier, which answers (N, classes), and the "
            f"network's answers are {shapes}: take another method, such as 'l1'."
        )
    if labels is None:
        return answers.argmax(1)
    count, classes = answers.shape
    if not isinstance(labels, Tensor) or labels.shape != (count,) or labels.is_floating_point():
        told = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise TensorpressError(
            f"labels= is {told}: give a tensor of whole numbers, one for each of the {count} "
            "images."
        )
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise TensorpressError(
            f"labels= go from {int(labels.min())} to {int(labels.max())}, and the network has "
            f"{classes} classes, 0 to {classes - 1}."
        )
    return labels.long()
