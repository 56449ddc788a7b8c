"""Decompose the kernel of one layer and put its factors into a chain of plain layers."""

from torch import nn

from tensorpress.decompose import RankRule
from tensorpress.errors import TensorpressError
from tensorpress.layers.chain import Factorized
from tensorpress.layers.eligible import Layer, is_convolution, refuse_unreadable
from tensorpress.layers.methods import METHODS, Factorization, Fitter, Method
from tensorpress.layers.widths import carry_record


def factorize(
    layer: nn.Module, *, method: str = "ttpwt", rank: RankRule, balance: bool = False
) -> Factorized:
    """Replace one layer by a chain of plain layers that computes what its factors say.

    By "ttpwt" ``Conv1d``, ``Conv2d`` and ``Conv3d`` become 3, 4 and 5 convolutions, 1x1
    convolutions and linear layers two (an axis with kernel 1 needs no factor of its own). At full
    rank the chain equals the layer up to rounding, whatever its strides, dilation, padding, padding
    mode and groups. The layer is not changed.

    Args:
        layer: a convolution or linear layer.
        method: "ttpwt", TT-SVD of the circularly shifted kernel; "tucker2", "cp", "kronecker",
            "tt", "tensor-ring", "hierarchical-tucker", "spatial-svd" or "channel-svd"
            (docs/method.md).
        rank: a rank rule that the method understands; with groups, the common ranks are the least
            that suit every group.
        balance: spread the scale over the factors (see :func:`tensorpress.decompose.balance`).

    Raises:
        TensorpressError: a layer of another kind (depthwise and transposed convolutions among
            them), with hooks or parametrisations, or with NaN or inf in its kernel; a rank rule
            that the method does not understand.

    >>> from tensorpress import Ranks
    >>> conv = nn.Conv2d(8, 16, 3, stride=(2, 1), padding=1)
    >>> chain = factorize(conv, rank=Ranks(4, 6, 5))
    >>> [tuple(sublayer.weight.shape) for sublayer in chain]
    [(4, 8, 1, 1), (6, 4, 3, 1), (5, 6, 1, 3), (16, 5, 1, 1)]
    """
    fit = factorize_layer(type(layer).__name__, layer, method, rank)
    chain = fit.to_module(layer, balanced=balance)  # type: ignore[arg-type]
    carry_record(layer, chain)
    return chain


def factorize_layer(name: str, layer: nn.Module, method: str, rank: RankRule) -> Factorization:
    """Decompose a layer's kernel; ``name`` stands in error messages. See :func:`factorize`."""
    return prepare_layer(name, layer, method)(rank)


def prepare_layer(name: str, layer: nn.Module, method: str) -> Fitter:
    """What decomposes a layer under one rank rule after the other. See :func:`factorize`."""
    chosen = find_method(method)
    if not (is_convolution(layer) or isinstance(layer, nn.Linear)):
        raise TensorpressError(
            f"layer '{name}' is a {type(layer).__name__}: Conv1d, Conv2d, Conv3d and Linear can be "
            "decomposed."
        )
    reason = chosen.why_not(layer)
    if reason is not None:
        raise TensorpressError(f"layer '{name}' cannot be decomposed: {reason}.")
    refuse_unreadable(name, layer)
    assert isinstance(layer, Layer)
    fitters: list[Fitter] = []

    def fit(rule: RankRule) -> Factorization:
        try:
            chosen.check_rule(rule)
            if not fitters:
                fitters.append(chosen.prepare(layer))
            return fitters[0](rule)
        except TensorpressError as error:
            raise TensorpressError(f"layer '{name}': {error}") from error

    return fit


def find_method(method: str) -> Method:
    """The method of this name.

    Raises:
        TensorpressError: there is none.
    """
    if method not in METHODS:
        raise TensorpressError(
            f"there is no method '{method}'; there is: {', '.join(sorted(METHODS))}."
        )
    return METHODS[method]
