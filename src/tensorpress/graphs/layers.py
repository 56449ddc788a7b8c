"""The nodes of a graph that are convolutions and linear layers, as layers of PyTorch."""

from typing import Any

import numpy as np
import torch
from torch import nn

from tensorpress.graphs.constants import Constants
from tensorpress.graphs.geometry import Left, geometry_of
from tensorpress.graphs.nodes import takes_inputs_first
from tensorpress.layers.padded import Padded

DTYPES = ("float32", "float64")
CONVOLUTIONS: Any = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED: Any = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
FIRST_GEMM_WITHOUT_C = 11


def layer_of(node: Any, constants: Constants, opset: int) -> nn.Module:
    """The layer that a node computes, with padding in front where it has none of its own for that.

    Raises:
        Left: it is none, or none whose node can be replaced.
    """
    kernel = _array(node, 1, constants)
    if node.op_type == "MatMul":
        return _linear(node, kernel, None)
    has_bias = len(node.inputs) > 2 and node.inputs[2] is not None
    bias = _array(node, 2, constants) if has_bias else None
    if node.op_type == "Gemm":
        return _gemm(node, kernel, bias, opset)
    return _convolution(node, kernel, bias)


def _array(node: Any, place: int, constants: Constants) -> Any:
    value = node.inputs[place]
    what = "weight" if place == 1 else "bias"
    if constants.is_quantised(value):
        raise Left(f"its {what} is quantised")
    if value not in constants:
        raise Left(f"its {what} is computed")
    if id(value) in constants.given:
        raise Left(f"its {what} is an input of the graph")
    array = constants.array(value)
    if array is None:
        raise Left(f"its {what} is computed")
    if array.dtype.name not in DTYPES:
        raise Left(f"its {what} is {array.dtype.name}")
    return array


def _linear(node: Any, kernel: Any, bias: Any) -> nn.Module:
    if kernel.ndim != 2:
        raise Left("its weight is no matrix")
    inputs_first = takes_inputs_first(node)
    outside, inside = kernel.shape[:: -1 if inputs_first else 1]
    layer = nn.Linear(inside, outside, bias=bias is not None, device="meta")
    return _filled(layer, kernel.T if inputs_first else kernel, bias)


def _gemm(node: Any, kernel: Any, bias: Any, opset: int) -> nn.Module:
    if node.attributes.get_int("transA", 0):
        raise Left("it transposes what it is fed")
    if opset < FIRST_GEMM_WITHOUT_C:
        raise Left(f"Gemm of opset {opset} has no form without a bias")
    alpha, beta = (node.attributes.get_float(name, 1.0) for name in ("alpha", "beta"))
    outside = kernel.shape[1 if takes_inputs_first(node) else 0]
    if bias is not None:
        if bias.size != 1 and (bias.size, bias.shape[-1]) != (outside, outside):
            raise Left("its bias is no row")
        bias = beta * np.broadcast_to(bias.reshape(-1), (outside,))
    return _linear(node, kernel if alpha == 1.0 else alpha * kernel, bias)


def _convolution(node: Any, kernel: Any, bias: Any) -> nn.Module:
    dims = kernel.ndim - 2
    if not 1 <= dims <= 3:
        raise Left(f"its map has {dims} axes")
    geometry = geometry_of(node, tuple(kernel.shape[2:]))
    transposed = node.op_type == "ConvTranspose"
    first, second = kernel.shape[0], kernel.shape[1] * geometry.groups
    inside, outside = (first, second) if transposed else (second, first)
    if first % geometry.groups or (bias is not None and bias.shape != (outside,)):
        raise Left("its weights do not fit its groups")
    kind = (TRANSPOSED if transposed else CONVOLUTIONS)[dims - 1]
    made = kind(inside, outside, bias=bias is not None, device="meta", **geometry.settings)
    layer = _filled(made, kernel, bias)
    return layer if geometry.pad is None else Padded(geometry.pad, layer).eval()


def _filled(layer: nn.Module, kernel: Any, bias: Any) -> nn.Module:
    layer.weight = _parameter(kernel)
    if bias is not None:
        layer.bias = _parameter(bias)
    return layer.eval()


def _parameter(array: Any) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(array, order="C")), requires_grad=False)
