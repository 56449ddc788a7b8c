"""A survey of a network's layers: what runs, in which order, and what may change."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import cast

from torch import nn

from tensorpress.layers import Layer, is_convolution, why_not
from tensorpress.layers.dense_form import dense_form
from tensorpress.layers.folding import PARAMETRISED, fold, is_foldable
from tensorpress.layers.kinds import in_channels, out_channels
from tensorpress.layers.methods import treated_by
from tensorpress.layers.padded import Padded
from tensorpress.layers.taken_apart import TakenApart, take_apart
from tensorpress.surgery.count import Cost, LayerCost, count, countable_layers, is_scripted
from tensorpress.surgery.inputs import ExampleInputs
from tensorpress.surgery.outputs import output_layers

FEW_CHANNELS = 4
"""So many are few however few come in; less than half of those that come in are few too."""


@dataclass(frozen=True)
class SurveyedLayer:
    """One convolution or linear layer.

    Attributes:
        name: its (first) name in the network; "" where it is the network itself.
        module: the layer.
        cost: its parameters, MACs and input shapes.
        obstacle: why it cannot be treated; None if it can.
        treated_by: the treatment that it got before; None if it is a layer as it was.
        is_output: whether it is a convolution to few channels that gives an output of the network.
        apart: a subclass, taken apart into the plain layer that it amounts to, or one that was.
    """

    name: str
    module: nn.Module
    cost: LayerCost
    obstacle: str | None
    treated_by: str | None = None
    apart: TakenApart | None = None
    is_output: bool = False

    @property
    def place(self) -> str:
        """The name of the plain layer where padding that it was taken apart from stands before."""
        padded = self.apart is not None and self.apart.padding is not None
        return f"{self.name}.layer" if padded else self.name

    @property
    def fed(self) -> list[tuple[int, ...]]:
        """Shapes of what the plain layer is fed at each call."""
        if self.apart is None or isinstance(self.module, Padded):
            return self.cost.inputs
        return [*map(self.apart.fed, self.cost.inputs)]

    @property
    def was(self) -> str | None:
        """What it was before, where that was no plain layer."""
        if self.treated_by or self.apart is None:
            return self.treated_by
        return "parametrised" if is_foldable(self.module) else type(self.module).__name__

    @property
    def story(self) -> str:
        """The same as the account ends with it; padding that stands apart is no news."""
        is_apart = isinstance(self.module, Padded) and self.treated_by is None
        return "" if self.was is None or is_apart else f", was {self.was}"

    @property
    def is_convolution(self) -> bool:
        return is_convolution(self.module if self.dense is None else self.dense)

    @cached_property
    def dense(self) -> Layer | None:
        """The plain layer that it is, or stands for; None where it stands for none."""
        return dense_form(self.module) if self.apart is None else self.apart.layer


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


def survey(
    net: nn.Module, example_inputs: ExampleInputs, *, fold_parametrizations: bool = False
) -> Survey:
    """Run ``net`` once on example inputs and list its layers. It is not changed.

    With ``fold_parametrizations`` a layer with parametrisations counts as the plain one that it is
    in eval mode.

    Raises:
        TensorpressError: it does not run on them, is lazy, or is a scripted module.
    """
    cost = count(net, example_inputs)
    modules = countable_layers(net)
    shared, peeked = _shared_weights(net), _read_by_weight(net)

    def surveyed(name: str, layer_cost: LayerCost) -> SurveyedLayer:
        module = modules[name]
        layer = module.layer if isinstance(module, Padded) else module
        before, apart = treated_by(layer), None
        obstacle = _obstacle(layer, layer_cost, shared, peeked)
        if obstacle is None and isinstance(module, Padded):
            apart = TakenApart(cast(Layer, dense_form(layer)), module.pad)
            obstacle = why_not(apart.layer)
        elif obstacle is None and is_foldable(layer):
            apart = TakenApart(fold(layer), None) if fold_parametrizations else None
            obstacle = why_not(layer) or (None if apart else PARAMETRISED)
        elif obstacle is None and before is None:
            # Only now: taking apart runs the layer several times.
            obstacle = why_not(layer)
            apart = take_apart(layer, layer_cost.inputs[0]) if obstacle else None
            obstacle = obstacle if apart is None else why_not(apart.layer)
        return SurveyedLayer(name, module, layer_cost, obstacle, before, apart)

    layers = [surveyed(*item) for item in cost.layers.items()]
    few = {layer.name: layer.module for layer in layers if _gives_few_channels(layer)}
    outputs = output_layers(net, example_inputs, few) if few else set()
    return Survey(tuple(replace(layer, is_output=layer.name in outputs) for layer in layers), cost)


def _gives_few_channels(layer: SurveyedLayer) -> bool:
    """Whether a convolution has as few channels out as a head has: classes of a mask, colours."""
    if not layer.cost.inputs or layer.dense is None or not layer.is_convolution:
        return False
    outside = out_channels(layer.dense)
    return outside <= FEW_CHANNELS or 2 * outside < in_channels(layer.dense)


def _obstacle(
    module: nn.Module, cost: LayerCost, shared: set[int], peeked: Mapping[int, str]
) -> str | None:
    if is_scripted(module):
        return "scripted or traced by torch.jit, which hides its layers"
    if id(module) in peeked:
        return f"{peeked[id(module)]} reads its weight itself"
    if not cost.inputs:
        return "not called on the example inputs"
    if cost.takes_more:
        return "called with something else than one tensor"
    before = treated_by(module)
    if before is not None and dense_form(module) is None:
        return f"no one layer computes what {before} made of it"
    if any(id(p) in shared for p in module.parameters()):
        return "shares its parameters with another module"
    return None


def _read_by_weight(net: nn.Module) -> dict[int, str]:
    """ids of layers whose weight PyTorch takes without calling them, and what does."""
    found: dict[int, str] = {}
    for module in net.modules():
        if isinstance(module, nn.TransformerEncoderLayer):  # in eval mode only
            found |= dict.fromkeys(
                map(id, (module.linear1, module.linear2)), "nn.TransformerEncoderLayer"
            )
        attends = isinstance(module, nn.MultiheadAttention)
        if attends and type(module).forward is nn.MultiheadAttention.forward:
            found[id(module.out_proj)] = "nn.MultiheadAttention"
    return found


def _shared_weights(net: nn.Module) -> set[int]:
    """ids of the parameters that more than one module holds."""
    seen: set[int] = set()
    shared: set[int] = set()
    for module in net.modules():
        for parameter in module.parameters(recurse=False):
            (shared if id(parameter) in seen else seen).add(id(parameter))
    return shared
