"""A survey of a network's layers: what runs, in which order, and what may change."""

from dataclasses import dataclass
from functools import cached_property

from torch import nn

from tensorpress.layers import Layer, is_convolution, why_not
from tensorpress.layers.dense_form import dense_form
from tensorpress.layers.methods import treated_by
from tensorpress.surgery.count import Cost, LayerCost, count, countable_layers
from tensorpress.surgery.inputs import ExampleInputs


@dataclass(frozen=True)
class SurveyedLayer:
    """One convolution or linear layer.

    Attributes:
        name: its (first) name in the network; "" where it is the network itself.
        module: the layer.
        cost: its parameters, MACs and input shapes.
        obstacle: why it cannot be treated; None if it can.
        treated_by: the treatment that it got before; None if it is a layer as it was.
    """

    name: str
    module: nn.Module
    cost: LayerCost
    obstacle: str | None
    treated_by: str | None = None

    @property
    def is_convolution(self) -> bool:
        return is_convolution(self.module if self.dense is None else self.dense)

    @cached_property
    def dense(self) -> Layer | None:
        """The plain layer that it is, or stands for; None where it stands for none."""
        return dense_form(self.module)


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
        obstacle = _obstacle(module, layer_cost, shared, peeked)
        return SurveyedLayer(name, module, layer_cost, obstacle, treated_by(module))

    return Survey(tuple(surveyed(*item) for item in cost.layers.items()), cost)


def _obstacle(module: nn.Module, cost: LayerCost, shared: set[int], peeked: set[int]) -> str | None:
    if id(module) in peeked:
        return "nn.TransformerEncoderLayer reads its weight itself"
    if not cost.inputs:
        return "not called on the example inputs"
    before = treated_by(module)
    if before is not None:
        plain = dense_form(module)
        reason = f"no one layer computes what {before} made of it" if plain is None else None
    else:
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
