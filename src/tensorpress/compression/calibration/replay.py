"""Passes that begin at a layer: what comes before it is not computed again, to the same bits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from tensorpress.compression.calibration.answers import Answer, answer
from tensorpress.compression.calibration.blanks import Blank, Blanks
from tensorpress.compression.calibration.outline import Outline, outlined
from tensorpress.compression.calibration.steps import (
    Call,
    Steps,
    changed,
    rerouted,
)
from tensorpress.compression.calibration.watching import fed
from tensorpress.layers.storage import storage_of
from tensorpress.rows import Rows
from tensorpress.surgery import tensor_leaves

T = TypeVar("T")
NO_LAYERS: Mapping[str, nn.Module] = {}


def replayable(net: nn.Module, names: Sequence[str], images: Rows) -> Outline | None:
    """What :class:`Replay` needs to know of ``net`` as it is; None if only whole passes are exact.

    Tried on ``images``, two are enough: each layer has to be fed, and the network to answer, the
    same bits as in a whole pass.
    """
    try:
        outline = outlined(net, names, images)
    except Exception:  # what no operation of a pass may be recorded of, such as sparse tensors
        return None
    wanted: dict[str, Tensor] = {}

    def call(name: str, forward: Call, *args: Any, **kwargs: Any) -> Any:
        wanted.setdefault(name, fed(args, kwargs).clone())
        return forward(*args, **kwargs)

    with torch.no_grad(), rerouted(net, names, call):
        whole = answer(net, images)
    replay = Replay(net, names, images, outline, glaring=True)
    same = all(
        torch.equal(replay.advance(name, Tensor.clone), wanted[name]) for name in outline.order
    )
    same = same and all(map(torch.equal, replay.answer(), whole))
    return outline if same and replay.outline is not None else None


class Replay:
    """One batch on its way through a network, layer by layer.

    The Python code of the network runs anew in every pass, but each step (:class:`Steps`) before
    the layer that was reached gives what it gave then, or, where that is not read any more, a
    tensor of that shape without values. Layers from there on may be replaced between passes.

    Wherever a pass does not go as the outline says, as where a network decides by what it computes,
    passes are whole ones from then on.

    Args:
        net: in the mode that it is to run in.
        names: layers that are asked for.
        outline: of its passes; None for whole passes.
        glaring: put NaN where there are no values, so that it shows who reads them unseen.
    """

    def __init__(
        self,
        net: nn.Module,
        names: Sequence[str],
        batch: Rows,
        outline: Outline | None = None,
        *,
        glaring: bool = False,
    ) -> None:
        self.net, self.names, self.batch, self.outline = net, names, batch, outline
        self._blanks = Blanks(glaring)
        self._done: list[_Done] = []
        self._stretch = 0

    def go_to(self, name: str) -> None:
        """Go on to the first call of a layer."""
        if self.outline is not None:
            self.advance(name, _nothing)

    def advance(self, name: str, take: Callable[[Tensor], T]) -> T:
        """Go on to the first call of a layer: what ``take`` makes of what it is fed."""
        (taken,) = self._run(_Look(name, take, 1), to=name)[1]
        return taken

    def fed(self, name: str, take: Callable[[Tensor], T], calls: int) -> list[T]:
        """Go on to a layer: what ``take`` makes of what it is fed at each of its calls."""
        if calls == 1:
            return self._run(_Look(name, take, 1), to=name)[1]
        self.go_to(name)
        return self._run(_Look(name, take, calls))[1]

    def answer(self, instead: Mapping[str, nn.Module] = NO_LAYERS) -> Answer:
        """What the network answers, with other modules called in place of layers not yet passed."""
        given = self._run(_Look("", _nothing, 0), instead=instead)[0]
        assert given is not None
        return given

    @torch.no_grad()
    def _run(
        self,
        look: "_Look[T]",
        *,
        to: str | None = None,
        instead: Mapping[str, nn.Module] = NO_LAYERS,
    ) -> tuple[Answer | None, list[T]]:
        """The answer, unless the pass ends at what is looked at, and what was taken there."""
        if self.outline is not None:
            try:
                return self._replayed(self.outline, look, to, instead), look.taken
            except Exception:  # shows again in a whole pass, if it is not from what is missing
                self.outline = None
                self._done = []
                look.taken.clear()
        return self._whole(look, instead), look.taken

    def _whole(self, look: "_Look[Any]", instead: Mapping[str, nn.Module]) -> Answer | None:
        def call(name: str, forward: Call, *args: Any, **kwargs: Any) -> Any:
            look.at(name, args, kwargs)
            return instead.get(name, forward)(*args, **kwargs)

        with rerouted(self.net, self.names, call):
            return look.until_seen(self.net, self.batch)

    def _replayed(
        self, outline: Outline, look: "_Look[Any]", to: str | None, instead: Mapping[str, nn.Module]
    ) -> Answer | None:
        if to is not None:
            stretch = outline.order.index(to)
            if stretch < self._stretch:
                self._done = []
            player = _Player(self._done, look, instead, self._blanks, keeping=(outline, stretch))
            with player.taken(self.net, self.names):
                look.until_seen(self.net, self.batch)
            if tuple(player.reached) != outline.order[: stretch + 1]:
                raise _Unlike
            self._stretch = stretch
            self._done = [
                done.pruned(number, outline, stretch) for number, done in enumerate(player.done)
            ]
            return None
        given = _with_copies(self._done, outline, self._stretch)
        player = _Player(given, look, instead, self._blanks)
        with player.taken(self.net, self.names):
            found = look.until_seen(self.net, self.batch)
        kept = {storage_of(tensor) for done in self._done for tensor in tensor_leaves(done.leaves)}
        if not kept.isdisjoint(player.changed):
            self.outline = None
            self._done = []
        return found


class _Unlike(Exception):
    """The pass is not as the outline says."""


class _Seen(Exception):
    """What was looked for was seen; nothing after it is needed."""


@dataclass
class _Look(Generic[T]):
    """What a layer is fed at its calls, up to the last one that is of interest."""

    name: str
    take: Callable[[Tensor], T]
    calls: int

    def __post_init__(self) -> None:
        self.taken: list[T] = []

    def at(self, name: str, args: Any, kwargs: Any) -> None:
        if name == self.name:
            self.taken.append(self.take(fed(args, kwargs)))
            if len(self.taken) == self.calls:
                raise _Seen

    def until_seen(self, net: nn.Module, batch: Rows) -> Answer | None:
        try:
            return answer(net, batch)
        except _Seen:
            return None


@dataclass(frozen=True)
class _Done:
    """A step and what it gave."""

    what: Any
    leaves: list[Any]
    tree: TreeSpec

    @classmethod
    def of(cls, what: Any, result: Any) -> "_Done":
        return cls(what, *tree_flatten(result))

    def pruned(self, number: int, outline: Outline, stretch: int) -> "_Done":
        """Without what is not read after a stretch."""
        leaves = [
            Blank.of(leaf)
            if isinstance(leaf, Tensor) and outline.read.get((number, place), 0) <= stretch
            else leaf
            for place, leaf in enumerate(self.leaves)
        ]
        return _Done(self.what, leaves, self.tree)

    def result(self, blanks: Blanks) -> Any:
        leaves = [blanks.tensor(leaf) if isinstance(leaf, Blank) else leaf for leaf in self.leaves]
        return tree_unflatten(leaves, self.tree)


class _Player(Steps):  # type: ignore[no-untyped-call]
    """Gives what steps gave before; takes the others, and keeps what is read after a stretch.

    Attributes:
        done: all steps so far, if any are kept.
        changed: the storages that steps changed which it took.
    """

    def __init__(
        self,
        given: Sequence[_Done],
        look: _Look[Any],
        instead: Mapping[str, nn.Module],
        blanks: Blanks,
        keeping: tuple[Outline, int] | None = None,
    ) -> None:
        super().__init__()
        self.given, self.look, self.instead, self.keeping = given, look, instead, keeping
        self.blanks = blanks
        self.done = list(given)
        self.changed: set[int] = set()

    def step(self, number: int, what: Any, run: Call, args: Any, kwargs: Any) -> Any:
        if number < len(self.given):
            if self.given[number].what != what:
                raise _Unlike
            return self.given[number].result(self.blanks)
        read = tensor_leaves((args, kwargs))
        if any(tensor in self.blanks for tensor in read):
            raise _Unlike
        if isinstance(what, str):
            self.look.at(what, args, kwargs)
            versions = [tensor._version for tensor in read]
            result = self.instead.get(what, run)(*args, **kwargs)
            changes = [x for x, before in zip(read, versions, strict=True) if x._version != before]
        else:
            result = run(*args, **kwargs)
            changes = tensor_leaves(changed(what, args, kwargs))
        self.changed.update(map(storage_of, changes))
        if self.keeping is not None:
            self.done.append(_Done.of(what, result).pruned(number, *self.keeping))
        return result


def _with_copies(done: Sequence[_Done], outline: Outline, stretch: int) -> list[_Done]:
    """With copies of what is changed in place after a stretch; views of one storage stay so."""
    storages: dict[int, torch.UntypedStorage] = {}
    copies: dict[int, Tensor] = {}

    def copied(tensor: Tensor) -> Tensor:
        key = storage_of(tensor)
        if key not in storages:
            storages[key] = tensor.untyped_storage().clone()  # type: ignore[no-untyped-call]
        if id(tensor) not in copies:
            copy = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
            copy.set_(storages[key], tensor.storage_offset(), tensor.size(), tensor.stride())
            copies[id(tensor)] = copy
        return copies[id(tensor)]

    return [
        _Done(
            step.what,
            [
                copied(leaf)
                if isinstance(leaf, Tensor) and outline.written.get((number, place), 0) > stretch
                else leaf
                for place, leaf in enumerate(step.leaves)
            ],
            step.tree,
        )
        for number, step in enumerate(done)
    ]


def _nothing(_: Tensor) -> None:
    """For calls of which nothing is taken."""
