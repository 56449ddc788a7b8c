"""How wide a layer is, and the record that one which was narrowed carries of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from tensorpress.layers.blocks import Blocks
from tensorpress.layers.chain import Factorized
from tensorpress.layers.chain_widths import chain_ends, is_rebuilt
from tensorpress.layers.kinds import CONVOLUTIONS, TRANSPOSED, is_linear, is_transposed

RECORD = "_tensorpress_widths"
"""The attribute of a module that holds its record, so that copies, pickles and training keep it."""

Widths = Mapping[str, int]
"""Values of the attributes that say how wide a layer is, by their names."""
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Narrowable:
    """Layers whose tensors have the shapes that their widths say.

    Attributes:
        modules: their classes.
        attributes: the names of their widths.
        shapes: (layer, all its widths) -> the shape of every tensor that it may have, by name.
    """

    modules: tuple[type[nn.Module], ...]
    attributes: tuple[str, ...]
    shapes: Callable[[Any, Widths], Shapes]


def _convolution(layer: Any, at: Widths) -> Shapes:
    inside, outside = at["in_channels"], at["out_channels"]
    first, second = (inside, outside) if is_transposed(layer) else (outside, inside)
    kernel = (first, second // at["groups"], *layer.kernel_size)
    return {"weight": kernel, "bias": (outside,)}


def _linear(_layer: Any, at: Widths) -> Shapes:
    return {"weight": (at["out_features"], at["in_features"]), "bias": (at["out_features"],)}


def _norm(_layer: Any, at: Widths) -> Shapes:
    return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (at["num_features"],))


def _prelu(_layer: Any, at: Widths) -> Shapes:
    return {"weight": (at["num_parameters"],)}


def _embedding(layer: Any, at: Widths) -> Shapes:
    return {"weight": (layer.num_embeddings, at["embedding_dim"])}


# Norms over several channels are not among them: none of their channels can go alone.
NARROWABLE = (
    Narrowable(CONVOLUTIONS + TRANSPOSED, ("in_channels", "out_channels", "groups"), _convolution),
    Narrowable((nn.Linear,), ("in_features", "out_features"), _linear),
    Narrowable((_NormBase,), ("num_features",), _norm),
    Narrowable((nn.PReLU,), ("num_parameters",), _prelu),
    Narrowable((nn.Embedding,), ("embedding_dim",), _embedding),
)
ATTRIBUTES = frozenset(name for kind in NARROWABLE for name in kind.attributes)
"""Every attribute that a record may name."""


def narrowable(layer: nn.Module) -> Narrowable | None:
    """What is known of layers of this class; None of others."""
    return next((kind for kind in NARROWABLE if isinstance(layer, kind.modules)), None)


def widths_of(layer: nn.Module) -> dict[str, int]:
    """The widths that a layer has, or the one that a chain stands for; none of another kind.

    They are not known of a chain with :class:`Blocks` in it.
    """
    if isinstance(layer, Factorized):
        return {} if any(isinstance(part, Blocks) for part in layer) else _of_chain(layer)
    known = narrowable(layer)
    return {name: getattr(layer, name) for name in known.attributes} if known else {}


def record_narrowing(layer: nn.Module, original: nn.Module) -> None:
    """Note on ``layer`` in which widths it differs from what it was, beside what it knew before.

    A layer whose tensors do not follow from its widths is left without a record.
    """
    now, before = widths_of(layer), widths_of(original)
    changed = {name: value for name, value in now.items() if value != before.get(name)}
    held = recorded_widths(original) | changed
    if held and _follows(layer, now):
        keep_record(layer, held)
    else:
        vars(layer).pop(RECORD, None)


def recorded_widths(layer: nn.Module) -> dict[str, int]:
    """The widths in which a layer differs from its original, as they are now; empty without any."""
    held: Widths = vars(layer).get(RECORD, {})
    now = widths_of(layer)
    return {name: now.get(name, value) for name, value in held.items()}


def keep_record(layer: nn.Module, widths: Widths) -> None:
    """Give ``layer`` this record."""
    setattr(layer, RECORD, dict(widths))


def carry_record(layer: nn.Module, replacement: nn.Module) -> None:
    """What stands in the place of a narrowed layer stands for a layer of those widths."""
    held = recorded_widths(layer)
    if held and replacement is not layer:
        keep_record(replacement, held)


def _of_chain(chain: Factorized) -> dict[str, int]:
    what = "features" if is_linear(chain[0]) else "channels"
    inside, outside = chain_ends(chain)
    return {f"in_{what}": inside, f"out_{what}": outside}


def _follows(layer: nn.Module, widths: Widths) -> bool:
    """Whether every tensor of a layer has the shape that its widths say."""
    if isinstance(layer, Factorized):
        return is_rebuilt(layer)
    known = narrowable(layer)
    if known is None:
        return False
    tensors = layer._parameters | layer._buffers
    for name, shape in known.shapes(layer, widths).items():
        if name not in tensors:
            return False
        tensor = tensors[name]
        if tensor is not None and tuple(tensor.shape) != shape:
            return False
    return True
