"""What one small pass tells of all others: which values are read, and changed, up to where."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from tensorpress.compression.calibration.answers import answer
from tensorpress.compression.calibration.steps import Call, Steps, changed
from tensorpress.layers.storage import storage_of
from tensorpress.rows import Rows
from tensorpress.surgery import tensor_leaves


@dataclass(frozen=True)
class Outline:
    """The steps of a pass (:class:`Steps`) and what becomes of their results.

    Stretch k of a pass is what comes after the first call of k layers, and before that of one more.

    Attributes:
        order: the layers, in order of their first calls.
        read, written: the last stretch in which a result is read or changed in place; results are
            known by the number of the step and the place among what it gives.
        live_bytes: the most that results take which are read later than the stretch they are of,
            for each image.
    """

    order: tuple[str, ...]
    read: dict[tuple[int, int], float]
    written: dict[tuple[int, int], float]
    live_bytes: float


@torch.no_grad()
def outlined(net: nn.Module, names: Sequence[str], images: Rows) -> Outline:
    """Run ``net`` as it is on a few images and note what is read where."""
    tracer = _Tracer()
    with tracer.taken(net, names):
        read = answer(net, images)
    tracer.note(read, tracer.read, math.inf)
    live = [
        sum(
            held.nbytes
            for held in tracer.held.values()
            if held.born <= stretch < tracer.read.get(held.key, 0)
        )
        for stretch in range(len(tracer.reached))
    ]
    return Outline(
        order=tuple(tracer.reached),
        read=tracer.by_result(tracer.read),
        written=tracer.by_result(tracer.written),
        live_bytes=max(live, default=0) / len(images),
    )


@dataclass
class _Held:
    """A storage; one of its tensors is kept, so that its address stays its own."""

    key: int
    born: int
    nbytes: int
    results: list[tuple[int, int]]
    tensors: list[Tensor]


class _Tracer(Steps):  # type: ignore[no-untyped-call]
    """Storages stand for values: views of one are read and changed together."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[int, _Held] = {}
        self.read: dict[int, float] = {}
        self.written: dict[int, float] = {}

    def step(self, number: int, what: Any, run: Call, args: Any, kwargs: Any) -> Any:
        stretch = len(self.reached)
        self.note((args, kwargs), self.read, stretch)
        if not isinstance(what, str):
            self.note(changed(what, args, kwargs), self.written, stretch)
        result = run(*args, **kwargs)
        for place, leaf in enumerate(tree_leaves(result)):
            if isinstance(leaf, Tensor):
                key, nbytes = storage_of(leaf), leaf.untyped_storage().nbytes()
                held = self.held.setdefault(key, _Held(key, stretch, nbytes, [], [leaf]))
                held.results.append((number, place))
        return result

    def note(self, values: Any, last: dict[int, float], stretch: float) -> None:
        """That storages of these values are used in a stretch."""
        for tensor in tensor_leaves(values):
            last[storage_of(tensor)] = stretch

    def by_result(self, last: dict[int, float]) -> dict[tuple[int, int], float]:
        return {
            result: last[key]
            for key, held in self.held.items()
            if key in last
            for result in held.results
        }
