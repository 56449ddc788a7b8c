"""Run a network on example inputs and leave it as it was."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves

from tensorpress.errors import TensorpressError

ExampleInputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""A tensor, positional arguments as a tuple or list, or keyword arguments as a mapping."""


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Every module in eval mode, so that no batch-norm statistic moves; restored one by one."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        net.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def run_examples(net: nn.Module, example_inputs: ExampleInputs) -> Any:
    """One forward pass in eval mode without gradients.

    Raises:
        TensorpressError: the network does not take these inputs, its own error is quoted; or they
            are empty, which would count no MACs.
    """
    given = [leaf for leaf in tree_leaves(example_inputs) if isinstance(leaf, Tensor)]
    if given and all(tensor.numel() == 0 for tensor in given):
        raise TensorpressError(
            f"the example inputs are empty ({describe(example_inputs)}): give a batch of 1 or more."
        )
    with evaluating(net), torch.no_grad():
        try:
            return call(net, example_inputs)
        except TensorpressError:
            raise
        # A network's forward may raise anything: KeyError, AssertionError, an error of its own.
        except Exception as error:
            first = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise TensorpressError(
                f"the network does not run on the example inputs ({describe(example_inputs)}): "
                f"{first}"
            ) from error


def call(net: nn.Module, example_inputs: ExampleInputs) -> Any:
    """What ``net`` gives on example inputs, in whichever of their forms."""
    if isinstance(example_inputs, Tensor):
        return net(example_inputs)
    if isinstance(example_inputs, Mapping):
        return net(**example_inputs)
    return net(*example_inputs)


def input_shape(example_inputs: ExampleInputs) -> tuple[int, ...] | None:
    """The shape of an input without the batch; None where there are several tensors."""
    given = [leaf for leaf in tree_leaves(example_inputs) if isinstance(leaf, Tensor)]
    return tuple(given[0].shape[1:]) if len(given) == 1 else None


def refuse_unready(net: nn.Module) -> None:
    """Raise if the layers of ``net`` cannot be seen or have no weights yet.

    Raises:
        TensorpressError: not a module, a scripted or traced one, or lazy modules.
    """
    if not isinstance(net, nn.Module):
        raise TensorpressError(f"give a network, a torch.nn.Module, not a {type(net).__name__}.")
    if isinstance(net, torch.jit.ScriptModule):
        raise TensorpressError(
            "the network is scripted or traced by torch.jit, which hides its layers: "
            "compress the module that it was made from, and script that."
        )
    for name, value in (*net.named_parameters(), *net.named_buffers()):
        if is_lazy(value):
            raise TensorpressError(
                f"the network is lazy and '{name}' has no weights yet: "
                "run it once on an input first."
            )


def describe(value: Any) -> str:
    """Shapes and dtypes of example inputs, for messages."""
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {describe(item)}" for key, item in value.items())
    if isinstance(value, (tuple, list)):
        return ", ".join(describe(item) for item in value)
    return repr(value)
