"""The inputs of a network, for an export and its check."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tensorpress.errors import TensorpressError, shown
from tensorpress.graphs import GraphNetwork
from tensorpress.surgery import ExampleInputs, answers


@dataclass(frozen=True, eq=False)
class Feed:
    """What one call of a network takes.

    Attributes:
        tensors: the inputs in order, on the CPU.
        names: their keywords; None if they are positional.
        batched: for each, whether its first dimension is the batch.
    """

    tensors: tuple[Tensor, ...]
    names: tuple[str, ...] | None
    batched: tuple[bool, ...]

    @property
    def args(self) -> tuple[Tensor, ...]:
        return self.tensors if self.names is None else ()

    @property
    def kwargs(self) -> dict[str, Tensor]:
        return {} if self.names is None else dict(zip(self.names, self.tensors, strict=True))

    @property
    def examples(self) -> tuple[Tensor, ...] | dict[str, Tensor]:
        """The inputs as ``compress`` and ``count`` take example inputs."""
        return self.tensors if self.names is None else self.kwargs

    @property
    def batch(self) -> int:
        """The batch size; 0 where nothing is batched."""
        return next((len(t) for t, b in zip(self.tensors, self.batched, strict=True) if b), 0)

    @property
    def holds_values(self) -> bool:
        """Whether the inputs are more than zeros or ones in the right shapes.

        Those of floating point say it where there are any: masks may be all ones.
        """
        floats = [t for t in self.tensors if t.is_floating_point()]
        told = [t for t in floats or self.tensors if t.numel() > 1]
        return bool(told) and not any(_is_blank(t) for t in told)

    @property
    def can_be_random(self) -> bool:
        """Whether there is anything that `randomised` draws."""
        return any(map(_is_drawn, self.tensors))

    def with_tensors(self, tensors: Sequence[Tensor]) -> "Feed":
        """The same inputs with other values, in order."""
        return replace(self, tensors=tuple(tensors))

    def copied(self) -> "Feed":
        """The same inputs in memory of their own, for networks that write into what they take."""
        return self.with_tensors([tensor.clone() for tensor in self.tensors])

    def resized(self, batch: int) -> "Feed":
        """The same at another batch size: the rows from the start, and again if there are few."""
        return self.rows(torch.arange(batch))

    def rows(self, which: Tensor) -> "Feed":
        """Some of the rows, by their numbers, which go on from the start behind the last one."""
        tensors = (
            tensor[which % len(tensor)] if is_batched else tensor
            for tensor, is_batched in zip(self.tensors, self.batched, strict=True)
        )
        return self.with_tensors(tuple(tensors))

    @property
    def fixed(self) -> "Feed":
        """The same, taken as they are at every call."""
        return replace(self, batched=(False,) * len(self.batched))

    def randomised(self, seed: int) -> "Feed":
        """The same with random values, but for whole numbers that are given, and masks.

        Nobody knows how far those may go.
        """
        generator = torch.Generator().manual_seed(seed)
        tensors = (
            random_values(t.shape, t.dtype, generator) if _is_drawn(t) else t for t in self.tensors
        )
        return replace(self, tensors=tuple(tensors))


def random_values(shape: Sequence[int], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Normal random numbers; pixels where they are uint8, else whole numbers 0 and 1, which every
    embedding has.
    """
    if dtype.is_floating_point:
        return torch.randn(tuple(shape), generator=generator).to(dtype)
    most = 256 if dtype == torch.uint8 else 2
    return torch.randint(most, tuple(shape), generator=generator).to(dtype)


def _is_drawn(tensor: Tensor) -> bool:
    """Masks of whole numbers are all ones where they hide nothing."""
    if tensor.is_floating_point():
        return True
    is_mask = tensor.dtype == torch.bool or (tensor.dtype != torch.uint8 and bool(tensor.any()))
    return not is_mask and _is_blank(tensor)


def _is_blank(tensor: Tensor) -> bool:
    return tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all())


def timed_feed(net: nn.Module, inputs: ExampleInputs) -> Feed:
    """The inputs that a network is timed on, their batch free unless it takes one alone."""
    return fixed_if_alone(net, as_batched(net, read_feed(inputs, dynamic_batch=True)))


def as_batched(net: nn.Module, feed: Feed) -> Feed:
    """The inputs, those fixed of which a file of ONNX says that they have no row for each input."""
    if not isinstance(net, GraphNetwork):
        return feed
    pairs = zip(feed.batched, net.structure.batched, strict=True)
    return replace(feed, batched=tuple(found and told for found, told in pairs))


def fixed_if_alone(net: nn.Module, feed: Feed) -> Feed:
    """The inputs, their batch fixed where the network takes one at a time."""
    is_alone = (
        feed.batch == 1
        and answers(net, feed.examples)
        and not answers(net, feed.resized(2).examples)
    )
    return feed.fixed if is_alone else feed


def read_feed(inputs: ExampleInputs, *, dynamic_batch: bool, named: str = "example_inputs") -> Feed:
    """The tensors of example inputs. Batched are those as long as the first one.

    Raises:
        TensorpressError: there is none, an empty one, or something else than a tensor.
    """
    given = (inputs,) if isinstance(inputs, Tensor) else inputs
    if not isinstance(given, (Mapping, tuple, list)) or not len(given):
        raise TensorpressError(
            f"{named}: give a tensor, several as a tuple, or keyword arguments as a mapping, "
            f"not {shown(inputs)}."
        )
    items = dict(given) if isinstance(given, Mapping) else dict(enumerate(given))
    for key, value in items.items():
        if not isinstance(value, Tensor):
            raise TensorpressError(
                f"{named}[{shown(key)}] is {shown(value)}, and an exported file takes tensors "
                "only: leave it out, and make it a default of the network's forward."
            )
        if value.is_meta or value.layout is not torch.strided:
            kind = "on the meta device" if value.is_meta else f"{value.layout}"
            raise TensorpressError(
                f"{named}[{shown(key)}] is {kind}: give a dense tensor with values."
            )
        if not value.numel():
            raise TensorpressError(f"{named}[{shown(key)}] is empty: give at least one input.")
    tensors = tuple(value.detach().cpu() for value in items.values())
    size = tensors[0].shape[:1]
    batched = tuple(dynamic_batch and bool(size) and t.shape[:1] == size for t in tensors)
    names = tuple(map(str, items)) if isinstance(given, Mapping) else None
    return Feed(tensors, names, batched)
