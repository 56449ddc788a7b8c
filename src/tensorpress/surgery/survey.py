"""A survey of a network's layers: what runs, in which order, and what may change."""

from dataclasses import dataclass

from torch import nn

from tensorpress.layers import Factorized, TTConv2d, is_convolution, why_not
from tensorpress.layers.shared_weight import SHARED, shared_weight_of
from tensorpress.surgery.count import Cost, LayerCost, count, countable_layers
from tensorpress.surgery.inputs import ExampleInputs


@dataclass(frozen=True)
class SurveyedLayer:
    """One convolution or linear layer.

    Attributes:
        name: its (first) name in the network; "" where it is the network itself.
        module: the layer.
        cost: its parameters, MACs and input shapes.
        obstacle: why it cannot be decomposed; None if it can.
    """

    name: str
    module: nn.Module
    cost: LayerCost
    obstacle: str | None

    @property
    def is_convolution(self) -> bool:
        return is_convolution(self.module)


@dataclass(frozen=True)
class Survey:
    """All convolutions and linear layers of a network, in order of execution, and its cost."""

    layers: tuple[SurveyedLayer, ...]
    cost: Cost

    @property
    def first_convolution(self) -> SurveyedLayer | None:
        """The first to run, be it factorized by now."""
        convolutions = (
            layer
            for layer in self.layers
            if layer.cost.inputs
            and (any(is_convolution(module) for module in layer.module.modules()))
        )
        return next(convolutions, None)


def survey(net: nn.Module, example_inputs: ExampleInputs) -> Survey:
    """Run ``net`` once on example inputs and list its layers. It is not changed.

    Raises:
        TensorpressError: it does not run on them, is lazy, or is a scripted module.
    """
    cost = count(net, example_inputs)
    modules = countable_layers(net)
    shared, peeked = _shared_weights(net), _read_by_weight(net)

    def surveyed(name: str, layer_cost: LayerCost) -> SurveyedLayer:
        module = modules[name]
        return SurveyedLayer(
            name, module, layer_cost, _obstacle(module, layer_cost, shared, peeked)
        )

    return Survey(tuple(surveyed(*item) for item in cost.layers.items()), cost)


def _obstacle(module: nn.Module, cost: LayerCost, shared: set[int], peeked: set[int]) -> str | None:
    if id(module) in peeked:
        return "nn.TransformerEncoderLayer reads its weight itself"
    if isinstance(module, Factorized):
        return f"already factorized ({module.method})"
    if isinstance(module, TTConv2d):
        return f"already tensorized ({module.method})"
    if shared_weight_of(module) is not None:
        return f"its weights are shared ({SHARED})"
    if not cost.inputs:
        return "not called on the example inputs"
    reason = why_not(module)
    if reason is None and any(id(p) in shared for p in module.parameters(recurse=False)):
        return "shares its parameters with another module"
    return reason


def _read_by_weight(net: nn.Module) -> set[int]:
    """ids of layers whose weight PyTorch takes without calling them, in eval mode only."""
    return {
        id(layer)
        for module in net.modules()
        if isinstance(module, nn.TransformerEncoderLayer)
        for layer in (module.linear1, module.linear2)
    }


def _shared_weights(net: nn.Module) -> set[int]:
    """ids of the parameters that more than one module holds."""
    seen: set[int] = set()
    shared: set[int] = set()
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            (shared if id(parameter) in seen else seen).add(id(parameter))
    return shared
