"""Which layers give a network's outputs: nothing learnt stands between them and the end."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakIdKeyDictionary

from tensorpress.surgery.inputs import ExampleInputs, run_examples, tensor_leaves

Names = frozenset[str]


def output_layers(
    net: nn.Module, example_inputs: ExampleInputs, layers: Mapping[str, nn.Module]
) -> set[str]:
    """The names of the ``layers`` whose output reaches that of ``net`` by fixed operations alone.

    Activations, sums, pooling and interpolation are fixed, and so is what works with frozen
    parameters where others are not frozen. Parameters and the statistics of norms are learnt.

    Raises:
        TensorpressError: the network does not run on ``example_inputs``.
    """
    followed = _Followed(net)

    def given(name: str, layer: nn.Module) -> Any:
        fixed = followed.learnt.isdisjoint(id(p) for p in layer.parameters())

        def hook(_layer: nn.Module, _args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                through = followed.names.get(output, Names()) if fixed else Names()
                followed.names[output] = through | {name}

        return layer.register_forward_hook(hook)

    handles = [given(name, layer) for name, layer in layers.items()]
    try:
        with followed:
            outputs = run_examples(net, example_inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name for leaf in tensor_leaves(outputs) for name in followed.names.get(leaf, Names())}


class _Followed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows outputs of layers from one tensor to the next.

    Attributes:
        names: of the layers whose outputs a tensor comes from by fixed operations alone.
        learnt: ids of the learnt tensors of the network.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: Any = WeakIdKeyDictionary()
        parameters = list(net.parameters())
        trained = [p for p in parameters if p.requires_grad] or parameters
        norms = (module for module in net.modules() if isinstance(module, _NormBase))
        statistics = [value for norm in norms for value in norm.buffers(recurse=False)]
        self._learnt: Any = WeakIdKeyDictionary(dict.fromkeys((*trained, *statistics), True))
        self.learnt = {id(value) for value in (*trained, *statistics)}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        taken = tensor_leaves((args, kwargs))
        learnt = [value in self._learnt for value in taken]
        names = Names().union(*(self.names.get(value, Names()) for value in taken))
        for value in tree_leaves(result):
            if not isinstance(value, Tensor) or value in self._learnt:
                continue
            if learnt and all(learnt):
                self._learnt[value] = True  # a weight computed from weights
            else:
                self.names[value] = Names() if any(learnt) else names
        return result
