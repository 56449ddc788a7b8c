"""Decompose the kernel of one layer and put its factors into a chain of plain layers."""

import copy
from typing import cast

from torch import nn

from tensorpress.decompose import RankRule
from tensorpress.errors import TensorpressError, refuse_no_flag
from tensorpress.layers.chain import Factorized
from tensorpress.layers.eligible import refuse_unreadable
from tensorpress.layers.kinds import NAMES, Layer, is_layer
from tensorpress.layers.methods import Decomposition, find_method
from tensorpress.layers.treatment import KERNEL, Fit, Fitter, Metric, Treatment
from tensorpress.layers.widths import carry_record


def factorize(
    layer: nn.Module,
    *,
    method: str | Decomposition = "ttpwt",
    rank: RankRule,
    balance: bool = False,
) -> Factorized:
    """Replace one layer by a chain of plain layers that computes what its factors say.

    By "ttpwt" convolutions of 1, 2 and 3 axes become 3, 4 and 5, transposed ones of transposed
    ones, 1x1 convolutions and linear layers two (an axis with kernel 1 needs no factor of its own).
    At full rank the chain equals the layer up to rounding, whatever its strides, dilation, padding,
    output padding, padding mode and groups. The layer is not changed.

    Args:
        layer: a convolution or linear layer.
        method: "ttpwt", TT-SVD of the circularly shifted kernel; "tucker2", "cp", "kronecker",
            "tt", "tensor-ring", "hierarchical-tucker", "spatial-svd" or "channel-svd"
            (docs/method.md); or an object, such as ``tp.methods.TTPWT()`` or one's own.
        rank: a rank rule that the method understands; with groups, the common ranks are the least
            that suit every group.
        balance: spread the scale over the factors (see :func:`tensorpress.decompose.balance`).

    Raises:
        TensorpressError: a layer of another kind (a depthwise convolution, say), with hooks or
            parametrisations, or with NaN or inf in its kernel; a method that is no decomposition; a
            rank rule that the method does not understand.

    >>> from tensorpress import Ranks
    >>> conv = nn.Conv2d(8, 16, 3, stride=(2, 1), padding=1)
    >>> chain = factorize(conv, rank=Ranks(4, 6, 5))
    >>> [tuple(sublayer.weight.shape) for sublayer in chain]
    [(4, 8, 1, 1), (6, 4, 3, 1), (5, 6, 1, 3), (16, 5, 1, 1)]
    """
    chosen = find_method(method)
    refuse_no_flag(balance=balance)
    if not isinstance(chosen, Decomposition):
        raise TensorpressError(
            f"method '{chosen.name}' does not factorize a layer: give a decomposition, such as "
            "'ttpwt', or use tensorpress.compress."
        )
    fit = factorize_layer(type(layer).__name__, layer, chosen, rank)
    chain: Factorized = fit.to_module(cast(Layer, layer), balanced=balance)  # type: ignore[assignment]
    carry_record(layer, chain)
    return chain


def factorize_layer(name: str, layer: nn.Module, method: str | Treatment, rank: RankRule) -> Fit:
    """Decompose a layer's kernel; ``name`` stands in error messages. See :func:`factorize`."""
    return prepare_layer(name, layer, method)(rank)


def on_processor(layer: Layer) -> Layer:
    """The layer, or a copy of it on the processor."""
    return layer if layer.weight.device.type == "cpu" else copy.deepcopy(layer).cpu()


def prepare_layer(
    name: str, layer: nn.Module, method: str | Treatment, metric: Metric = KERNEL
) -> Fitter:
    """What gives the options for a layer under one rule after the other; errors name the layer.

    They are worked out on the processor, where the layer may be elsewhere: solvers take many small
    steps one after the other, and a GPU was seen to take twenty times as long over a choice.

    Raises:
        TensorpressError: at once, for a layer that the treatment does not take; by the fitter, for
            a kernel or rule that does not suit it.
    """
    chosen = find_method(method)
    if not is_layer(layer):
        raise TensorpressError(
            f"layer '{name}' is a {type(layer).__name__}: {NAMES} can be decomposed."
        )
    reason = chosen.why_not(layer)
    if reason is not None:
        raise TensorpressError(f"layer '{name}' cannot be decomposed: {reason}.")
    refuse_unreadable(name, layer)
    fitters: list[Fitter] = []

    def fit(rule: RankRule) -> Fit:
        try:
            chosen.check_rule(rule)
            if not fitters:
                fitters.append(chosen.prepare(on_processor(cast(Layer, layer)), metric))
            return fitters[0](rule)
        except TensorpressError as error:
            raise TensorpressError(f"layer '{name}': {error}") from error

    return fit
