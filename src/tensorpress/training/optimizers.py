"""The optimisers of a recipe, with their state laid out before the first step."""

from typing import Any

import torch
from torch import Tensor, nn

from tensorpress.errors import TensorpressError
from tensorpress.training.adamw import adamw
from tensorpress.training.muon import Muon, matrices_of
from tensorpress.training.place import Place
from tensorpress.training.recipes import Recipe


def make_optimizer(net: nn.Module, recipe: Recipe, place: Place) -> torch.optim.Optimizer:
    """The optimiser of a recipe for the parameters of ``net`` that ask for gradients.

    Raises:
        TensorpressError: none of them does.
    """
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    if not parameters:
        raise TensorpressError(
            "no parameter of the network asks for a gradient, so there is nothing to train; "
            "call net.requires_grad_() first."
        )
    on_gpu = place.device.type == "cuda"
    # A recorded step reads the learning rate from memory.
    lr: Any = torch.tensor(recipe.lr, device=place.device) if on_gpu else recipe.lr
    settings: dict[str, Any] = {
        "lr": lr,
        "momentum": recipe.momentum,
        "weight_decay": recipe.weight_decay,
    }
    if recipe.optimizer != "sgd":
        matrices = matrices_of(net) if recipe.optimizer == "muon" else []
        if not matrices:
            return adamw(parameters, **settings, capturable=on_gpu)
        taken = {id(weight) for weight, _ in matrices}
        others = [parameter for parameter in parameters if id(parameter) not in taken]
        return Muon(matrices, others, **settings, capturable=on_gpu)
    sgd = torch.optim.SGD(
        parameters,
        **settings,
        nesterov=recipe.nesterov,
        fused=on_gpu or None,
    )
    if recipe.momentum:
        # Starting from zeros equals starting from the first gradient, and makes all steps alike.
        for parameter in parameters:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return sgd


def optimizer_state(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What the optimiser remembers of each parameter, by the parameter's name, on the CPU."""
    return {
        name: {key: value.cpu().contiguous() for key, value in optimizer.state[parameter].items()}
        for name, parameter in net.named_parameters()
        if parameter in optimizer.state
    }


@torch.no_grad()
def restore_optimizer(
    net: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, dict[str, Tensor]]
) -> None:
    """Put back what :func:`optimizer_state` gave."""
    for name, parameter in net.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            value.copy_(state[name][key])
