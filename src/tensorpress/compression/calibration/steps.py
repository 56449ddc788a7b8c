"""A forward pass as a row of steps: calls of certain layers, and the operations between them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

Call = Callable[..., Any]


class Steps(ABC, TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees a pass step by step, while active in :meth:`taken`.

    What runs inside a layer is no step of its own, so that steps keep their numbers when a layer is
    replaced by a chain. Nor are views, which look at values without reading them.

    Attributes:
        reached: the layers called so far, in order of their first calls.
        number: how many steps there were.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reached: list[str] = []
        self.number = 0
        self._busy = False

    @abstractmethod
    def step(self, number: int, what: Any, run: Call, args: Any, kwargs: Any) -> Any:
        """What a step gives: ``run(*args, **kwargs)``, or something in its place.

        Args:
            what: the operation, or the name of the layer.
        """

    @contextmanager
    def taken(self, net: nn.Module, names: Sequence[str]) -> Iterator[None]:
        """Passes of ``net`` go through :meth:`step` meanwhile; ``names`` are the layers."""
        with rerouted(net, names, self._call), self:
            yield

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._busy or func.is_view:
            return func(*args, **(kwargs or {}))
        return self._take(func, func, args, kwargs or {})

    def _call(self, name: str, forward: Call, *args: Any, **kwargs: Any) -> Any:
        if name not in self.reached:
            self.reached.append(name)
        return self._take(name, forward, args, kwargs)

    def _take(self, what: Any, run: Call, args: Any, kwargs: Any) -> Any:
        number = self.number
        self.number += 1
        self._busy = True
        try:
            return self.step(number, what, run, args, kwargs)
        finally:
            self._busy = False


def changed(operation: Any, args: Any, kwargs: Any) -> list[Any]:
    """The arguments that an operation changes in place."""
    arguments = operation._schema.arguments
    given = {argument.name: value for argument, value in zip(arguments, args, strict=False)}
    given |= kwargs
    return [
        given[argument.name]
        for argument in arguments
        if argument.alias_info is not None
        and argument.alias_info.is_write
        and argument.name in given
    ]


@contextmanager
def rerouted(net: nn.Module, names: Sequence[str], call: Call) -> Iterator[None]:
    """Layers' calls become ``call(name, forward, *args, **kwargs)`` meanwhile.

    Not by hooks, for which PyTorch's transformers leave their fast path.
    """
    layers = [(name, net.get_submodule(name)) for name in names]
    own = [vars(layer).get("forward") for _, layer in layers]
    for name, layer in layers:
        layer.forward = partial(call, name, layer.forward)
    try:
        yield
    finally:
        for (_, layer), forward in zip(layers, own, strict=True):
            vars(layer).pop("forward", None)
            if forward is not None:
                layer.forward = forward
