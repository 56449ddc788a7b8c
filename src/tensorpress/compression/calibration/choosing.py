"""Layers whose rows a network chooses by their values, as the best tokens or proposals."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from tensorpress.compression.calibration.watching import fed, run_watched
from tensorpress.graphs import GraphNetwork
from tensorpress.layers.storage import storage_of
from tensorpress.rows import Rows
from tensorpress.surgery import tensor_leaves

CHOOSING = {
    *("index", "index_select", "gather", "take", "masked_select"),
    *("index_put", "index_put_", "_index_put_impl_", "scatter", "scatter_"),
}
"""What takes rows by numbers or masks that it is given."""
TO_PYTHON = "_local_scalar_dense"
IN_GRAPHS = {
    *("Gather", "GatherElements", "GatherND", "Compress"),
    *("ScatterElements", "ScatterND", "Slice", "NonMaxSuppression"),
}


def after_choices(net: nn.Module, names: Collection[str], images: Rows) -> set[str]:
    """Those of the layers that are fed rows which were chosen by what a layer before them gave.

    Another network that computes nearly the same chooses other rows, so that what one layer gives
    in the two cannot be compared row by row. All layers are after a choice that is made in Python.
    """
    if isinstance(net, GraphNetwork):
        return _in_graph(net).intersection(names)
    found: set[str] = set()
    values = _Values()

    def watch(name: str) -> list[RemovableHandle]:
        def enter(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
            if values.in_python or values.are_among(values.chosen, fed(args, kwargs)):
                found.add(name)

        def leave(_module: nn.Module, _args: Any, output: Any) -> None:
            values.mark(values.learnt, output)

        layer = net.get_submodule(name)
        return [
            layer.register_forward_pre_hook(enter, with_kwargs=True),
            layer.register_forward_hook(leave),
        ]

    with values:
        run_watched(net, images, [handle for name in names for handle in watch(name)])
    return found


def _in_graph(net: GraphNetwork) -> set[str]:
    """The same of a graph's nodes, in their order."""
    called = {call.node: call.name for call in net.structure.layers}
    learnt: set[int] = set()
    chosen: set[int] = set()
    found: set[str] = set()
    for number, node in enumerate(net.structure.model.graph):
        if node.op_type in ("Shape", "Size"):  # which no values change
            continue
        read = [id(value) for value in node.inputs if value is not None]
        outputs = [id(value) for value in node.outputs]
        if number in called:
            found |= {called[number]} if chosen.intersection(read) else set()
            learnt.update(outputs)
        if learnt.intersection(read):
            learnt.update(outputs)
        if chosen.intersection(read) or (
            node.op_type in IN_GRAPHS and learnt.intersection(read[1:])
        ):
            chosen.update(outputs)
    return found


class _Values(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What becomes of values in a pass, by their storages.

    Attributes:
        learnt: those that depend on what a layer has given.
        chosen: those of rows that were chosen by such.
        in_python: whether such a one was read as a number of Python, which may choose anything.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        # The tensors are kept, so that their storages stay their own.
        self.learnt: dict[int, Tensor] = {}
        self.chosen: dict[int, Tensor] = {}
        self.in_python = False

    def mark(self, those: dict[int, Tensor], values: Any) -> None:
        those.update((storage_of(tensor), tensor) for tensor in _strided(values))

    def are_among(
        self, those: dict[int, Tensor], values: Any, fits: Callable[[Tensor], bool] | None = None
    ) -> bool:
        return any(
            storage_of(tensor) in those and (fits is None or fits(tensor))
            for tensor in _strided(values)
        )

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = (args, dict(kwargs or {}))
        name = func.overloadpacket.__name__
        depends = self.are_among(self.learnt, given)
        chooses = name in CHOOSING and self.are_among(self.learnt, given, _is_whole)
        chosen = chooses or self.are_among(self.chosen, given)
        self.in_python |= depends and name == TO_PYTHON
        result = func(*args, **(kwargs or {}))
        if depends:
            self.mark(self.learnt, result)
        if chosen:
            self.mark(self.chosen, result)
        return result


def _strided(values: Any) -> list[Tensor]:
    return [x for x in tensor_leaves(values) if x.layout == torch.strided and not x.is_meta]


def _is_whole(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() and not tensor.is_complex()
