"""How the modules of a network feed each other."""

import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.utils._pytree import tree_map_only

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.quiet import quiet
from tensorpress.layers import Replacement


class ModuleGraph(NamedTuple):
    """A graph of modules, and whether the forward has read sizes, by which it may have decided."""

    graph: fx.Graph
    reads_sizes: bool


def trace_modules(net: nn.Module, feed: Feed) -> ModuleGraph | None:
    """How the modules of a network feed each other when it is called with these inputs.

    Sizes are those of the inputs. None where the graph depends on values of the inputs.
    """
    try:
        signature = inspect.signature(net.forward)
        given = signature.bind(*feed.args, **feed.kwargs).arguments
        left_out = {
            name: parameter.default
            for name, parameter in signature.parameters.items()
            if name not in given and parameter.default is not parameter.empty
        }
        with quiet(), torch.no_grad():
            tracer = _Tracer(given)
            return ModuleGraph(tracer.trace(net, left_out or None), tracer.reads_sizes)
    except Exception:  # whatever a forward does that symbols cannot follow
        return None


class _Symbol(fx.Proxy):
    """A symbol that also has the value that it stands for in this run, and tells its sizes."""

    value: Any = None

    @property
    def shape(self) -> Any:
        return self._tensor("shape").shape

    @property
    def ndim(self) -> Any:
        return self._tensor("ndim").ndim

    def size(self, *dim: int) -> Any:
        return self._tensor("size").size(*dim)

    def dim(self) -> Any:
        return self._tensor("dim").dim()

    def numel(self) -> Any:
        return self._tensor("numel").numel()

    def __len__(self) -> int:
        return len(self._tensor("__len__"))

    def _tensor(self, name: str) -> Tensor:
        if not isinstance(self.value, Tensor):
            raise AttributeError(name)  # the symbol alone then goes into the graph
        self.tracer.reads_sizes = True  # type: ignore[attr-defined]
        return self.value


class _Tracer(fx.Tracer):
    """Sees what replaces a layer as one, and computes what it traces."""

    def __init__(self, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self._inputs = tree_map_only(Tensor, Tensor.clone, dict(inputs))
        self._computing = False
        self.reads_sizes = False

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, Replacement)
        return whole or super().is_leaf_module(m, module_qualified_name)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Symbol(node, self)

    def create_proxy(
        self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any
    ) -> fx.Proxy:
        symbol = super().create_proxy(kind, target, args, kwargs, *more, **options)
        if isinstance(symbol, _Symbol):
            symbol.value = self._computed(kind, target, _valued(args), _valued(kwargs))
        return symbol

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._computing:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        if self._computing:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def _computed(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        self._computing = True
        try:
            if kind == "placeholder":
                return self._inputs.get(target)
            if kind == "get_attr":
                return operator.attrgetter(target)(self.root)
            if kind == "call_module":
                return self.root.get_submodule(target)(*args, **kwargs)
            if kind == "call_method":
                return operator.methodcaller(target, *args[1:], **kwargs)(args[0])
            return target(*args, **kwargs)
        finally:
            self._computing = False


def _valued(arguments: Any) -> Any:
    """Arguments with values in place of their symbols."""
    return tree_map_only(fx.Proxy, _value, arguments)


def _value(symbol: Any) -> Any:
    if isinstance(symbol, _Symbol):
        return symbol.value
    return getattr(_value(symbol.root), symbol.attr)
