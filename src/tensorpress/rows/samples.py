"""What a network is calibrated on, where that is more than a tensor of images."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from tensorpress.errors import TensorpressError
from tensorpress.surgery import ExampleInputs, call

Outputs = Sequence[str] | Callable[[Any], Any]
"""What of an answer is compared: a function of the answer, or the names of modules whose outputs
stand for it."""

CHANNELS_OF_IMAGES = (1, 3, 4)


@dataclass(frozen=True)
class Samples:
    """N rows of what a network takes, of several tensors or in a form of its own.

    Indexed as a tensor is along its first axis.

    Attributes:
        tensors: (N, ...) each.
        form: how the network takes them.
        compared: what of its answer is compared; None for all of it.
    """

    tensors: tuple[Tensor, ...]
    form: "Form"
    compared: Outputs | None = None

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: Any) -> "Samples":
        return self.map(lambda tensor: tensor[rows])

    @property
    def device(self) -> torch.device:
        return self.tensors[0].device

    @property
    def inputs(self) -> ExampleInputs:
        """As the network takes them."""
        return self.form.inputs(self.tensors)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Samples":
        """With every tensor changed."""
        return replace(self, tensors=tuple(map(change, self.tensors)))


Rows = Tensor | Samples
"""Rows of calibration data: images (N, ...), or of several tensors."""


@dataclass(frozen=True)
class Form:
    """How a network takes its inputs, read off example inputs.

    Attributes:
        tree: of the inputs; a list of images is one leaf.
        leaves: those that have no rows, such as None, a flag or a number; None in the places of
            tensors.
        places: of the tensors among the leaves.
        listed: which of the tensors are given as a list of rows, as detectors take images.
    """

    tree: TreeSpec
    leaves: tuple[Any, ...]
    places: tuple[int, ...]
    listed: tuple[bool, ...]

    @classmethod
    def of(cls, example_inputs: ExampleInputs) -> "Form":
        """
        Raises:
            TensorpressError: there is no tensor among them.
        """
        leaves, tree = _flat(example_inputs)
        listed = [_is_list_of_images(leaf) for leaf in leaves]
        places = [
            n
            for n, leaf in enumerate(leaves)
            if (isinstance(leaf, Tensor) and leaf.dim()) or listed[n]
        ]
        if not places:
            raise TensorpressError("calibration needs a network that takes tensors.")
        kept = tuple(None if n in places else leaf for n, leaf in enumerate(leaves))
        return cls(tree, kept, tuple(places), tuple(listed[n] for n in places))

    @property
    def is_plain(self) -> bool:
        """Whether the network takes one tensor by position, and nothing else."""
        return self.tree in _PLAIN and self.listed == (False,)

    def inputs(self, tensors: Sequence[Tensor]) -> ExampleInputs:
        """The inputs with these tensors in their places."""
        leaves = list(self.leaves)
        for place, listed, tensor in zip(self.places, self.listed, tensors, strict=True):
            leaves[place] = list(tensor) if listed else tensor
        given: ExampleInputs = tree_unflatten(leaves, self.tree)
        return given

    def tensors_of(self, given: Any) -> tuple[Tensor, ...] | None:
        """The tensors of inputs in this form, lists of images as (N, C, H, W); None of others."""
        example = tree_unflatten(self.leaves, self.tree)
        if isinstance(example, dict) and isinstance(given, Mapping):
            given = {name: given[name] for name in example if name in given}
        leaves, tree = _flat(given)
        if tree != self.tree:
            return None
        found = [leaves[place] for place in self.places]
        made = [_as_rows(leaf) for leaf in found]
        return tuple(made) if all(isinstance(x, Tensor) for x in made) else None


def count_rows(inputs: ExampleInputs) -> int:
    """How many images inputs hold, as long as their first tensor."""
    tensors = Form.of(inputs).tensors_of(inputs)
    return len(tensors[0]) if tensors and tensors[0].dim() else 1


_PLAIN = tuple(tree_flatten(example)[1] for example in (0, (0,)))


def _flat(inputs: Any) -> tuple[list[Any], TreeSpec]:
    if isinstance(inputs, Mapping):
        inputs = dict(inputs)
    elif isinstance(inputs, list):
        inputs = tuple(inputs)
    return tree_flatten(inputs, is_leaf=_is_list_of_images)


def _as_rows(leaf: Any) -> Any:
    """A list of images or an array as a tensor; anything else as it is."""
    if _is_list_of_images(leaf):
        return torch.stack(leaf)
    return torch.as_tensor(leaf) if isinstance(leaf, np.ndarray) else leaf


def _is_list_of_images(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            isinstance(x, Tensor) and x.dim() == 3 and len(x) in CHANNELS_OF_IMAGES for x in value
        )
    )


def run(net: nn.Module, part: Rows) -> Any:
    """What ``net`` gives for a batch."""
    return call(net, inputs_of(part))


def inputs_of(part: Rows) -> ExampleInputs:
    """A batch as the network takes it."""
    return part if isinstance(part, Tensor) else part.inputs


def changed(part: Rows, change: Callable[[Tensor], Tensor]) -> Rows:
    """With every tensor changed."""
    return change(part) if isinstance(part, Tensor) else part.map(change)
