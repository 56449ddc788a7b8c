"""Layers whose constants are of no account."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tensorpress.compression.calibration.statistics import batch_norms
from tensorpress.compression.calibration.watching import run_watched
from tensorpress.rows import Rows
from tensorpress.surgery import tensor_leaves


def followed_by_batch_norm(net: nn.Module, names: Collection[str], images: Rows) -> set[str]:
    """Those of the layers whose output goes into batch norms alone, which take out any constant."""
    readers = _Readers()
    handles = [net.get_submodule(name).register_forward_hook(readers.gives(name)) for name in names]
    for norm in batch_norms(net):
        handles.append(norm.register_forward_pre_hook(readers.enters))
        handles.append(norm.register_forward_hook(readers.leaves))
    handles.append(net.register_forward_hook(readers.answers))
    with readers:
        run_watched(net, images, handles)
    return readers.of_norms - readers.of_others


class _Readers(TorchFunctionMode):
    """What reads the outputs of layers.

    Attributes:
        of_norms, of_others: the layers whose output a batch norm reads, and something else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.of_norms: set[str] = set()
        self.of_others: set[str] = set()
        self._given: dict[int, tuple[str, Tensor, int]] = {}
        self._inside = 0

    def gives(self, name: str) -> Callable[..., None]:
        def leave(_module: nn.Module, _args: Any, output: Tensor) -> None:
            # The tensor is kept, so that its id stays its own.
            self._given[id(output)] = (name, output, output._version)

        return leave

    def enters(self, _norm: nn.Module, args: Any) -> None:
        self._inside += 1
        name, output, version = self._given.get(id(args[0]) if args else 0, ("", None, 0))
        if output is not None and output._version == version:  # not changed in place meanwhile
            self.of_norms.add(name)

    def leaves(self, *_: Any) -> None:
        self._inside -= 1

    def answers(self, _net: nn.Module, _args: Any, answer: Any) -> None:
        self._read(answer)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if not self._inside and tensor_leaves(result):  # sizes tell nothing of values
            self._read((args, kwargs))
        return result

    def _read(self, values: Any) -> None:
        read = (self._given.get(id(tensor)) for tensor in tensor_leaves(values))
        self.of_others.update(found[0] for found in read if found is not None)
