"""Run a network on example inputs and leave it as it was."""

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils._pytree import tree_leaves, tree_map_only

from tensorpress.errors import MOST_ITEMS, TensorpressError, first_line, shown

ExampleInputs = Tensor | tuple[Any, ...] | list[Any] | Mapping[str, Any]
"""A tensor, positional arguments as a tuple or list, or keyword arguments as a mapping."""


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Every module in eval mode, so that no batch-norm statistic moves; restored one by one.

    Modules that do more than to note the mode, as those do that merge weights for it, are told.

    Raises:
        TensorpressError: it does not go into that mode, as what torch.export made.
    """
    modes = [(module, module.training) for module in net.modules()]
    try:
        try:
            net.eval()
        except Exception as error:
            raise TensorpressError(
                f"the network does not go into eval mode ({first_line(error)}): give the module "
                "that it was made from."
            ) from error
        yield
    finally:
        for module, training in modes:
            if type(module).train is not nn.Module.train and module.training != training:
                module.train(training)
        for module, training in modes:
            module.training = training


def tensor_leaves(tree: Any) -> list[Tensor]:
    """The tensors of what a network takes or answers, in the order in which files have them.

    Those in tuples, lists, mappings and dataclasses, and in what is derived from these, however
    deep.
    """
    found: list[Tensor] = []
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, Mapping):
            found += tensor_leaves(list(leaf.values()))
        elif isinstance(leaf, (tuple, list)):
            found += tensor_leaves(list(leaf))
        elif dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensor_leaves([getattr(leaf, f.name) for f in dataclasses.fields(leaf)])
    return found


def run_examples(net: nn.Module, example_inputs: ExampleInputs) -> Any:
    """One forward pass in eval mode without gradients.

    Raises:
        TensorpressError: the network does not take these inputs, its own error is quoted; or they
            are in none of their forms, or empty, which would count no MACs.
    """
    if not isinstance(example_inputs, (Tensor, tuple, list, Mapping)):
        raise TensorpressError(
            f"example_inputs={type(example_inputs).__name__}: give a tensor, arguments as a tuple, "
            "or keyword arguments as a mapping."
        )
    given = tensor_leaves(example_inputs)
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
            raise not_running(net, example_inputs, "the example inputs", error) from error


def not_running(
    net: nn.Module, inputs: ExampleInputs, named: str, error: Exception
) -> TensorpressError:
    """What to say of a network in eval mode that failed with ``error`` on ``inputs``.

    Networks that take one input at a time, or whole numbers, are told from those that take other
    inputs by a try.
    """
    reason = first_line(error)
    batch = _batch(inputs)
    if batch > 1 and takes_one_only(net, inputs):
        return TensorpressError(
            f"the network takes one input at a time: it runs on one, and not on a batch of {batch} "
            f"({reason}). Export it with a batch of 1 (--batch 1, dynamic_batch=False); to train, "
            "evaluate or calibrate it, let its forward take any batch."
        )
    floats = any(tensor.is_floating_point() for tensor in tensor_leaves(inputs))
    if floats and answers(net, tree_map_only(Tensor, torch.zeros_like, inputs), torch.int64):
        return TensorpressError(
            f"the network takes whole numbers: it runs on int64, and not on {named} "
            f"({describe(inputs)}): {reason}. Give such example inputs (compress, explore and "
            "export: --input-dtype int64)."
        )
    return TensorpressError(f"the network does not run on {named} ({describe(inputs)}): {reason}")


def takes_one_only(net: nn.Module, inputs: ExampleInputs) -> bool:
    """Whether a network runs on one of these inputs, and not on two."""
    return _runs(net, inputs, 1) and not _runs(net, inputs, 2)


def _runs(net: nn.Module, inputs: ExampleInputs, size: int) -> bool:
    """Whether the network runs on so many of a batch of inputs."""
    batch = _batch(inputs)

    def rows(tensor: Tensor) -> Tensor:
        of_batch = batch > 0 and tensor.shape[:1] == (batch,)
        return tensor[torch.arange(size) % batch] if of_batch else tensor

    return answers(net, tree_map_only(Tensor, rows, inputs))


def answers(net: nn.Module, inputs: ExampleInputs, dtype: torch.dtype | None = None) -> bool:
    """Whether the network runs on these inputs, or on the same in ``dtype``."""
    with evaluating(net), torch.no_grad():
        try:
            call(
                net, tree_map_only(Tensor, lambda tensor: tensor.to(dtype or tensor.dtype), inputs)
            )
        except Exception:  # a forward may raise anything
            return False
    return True


def _batch(inputs: ExampleInputs) -> int:
    return next((len(tensor) for tensor in tensor_leaves(inputs) if tensor.dim()), 0)


def call(net: nn.Module, example_inputs: ExampleInputs) -> Any:
    """What ``net`` gives on example inputs, in whichever of their forms."""
    if isinstance(example_inputs, Tensor):
        return net(example_inputs)
    if isinstance(example_inputs, Mapping):
        return net(**example_inputs)
    return net(*example_inputs)


def input_shape(example_inputs: ExampleInputs) -> tuple[int, ...] | None:
    """The shape of an input without the batch; None where there are several tensors."""
    given = tensor_leaves(example_inputs)
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
    """Shapes and dtypes of example inputs, for messages; of many inputs the first ones."""
    if isinstance(value, Mapping):
        texts = [f"{key}: {_described(item)}" for key, item in islice(value.items(), MOST_ITEMS)]
    elif isinstance(value, (tuple, list)):
        texts = [_described(item) for item in value[:MOST_ITEMS]]
    else:
        return _described(value)
    return ", ".join(texts + ["..."] * (len(value) > MOST_ITEMS))


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)} {str(value.dtype).removeprefix('torch.')}"
    return shown(value)
