"""What a plan is asked to compute with, and what a runtime makes of that."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn

from tensorpress.choices import AUTO, INT8
from tensorpress.cores import refuse_threads
from tensorpress.deploy.execution import factorized_layers
from tensorpress.deploy.quiet import quiet
from tensorpress.deploy.runtimes import RUNTIMES, Runtime
from tensorpress.errors import TensorpressError, shown
from tensorpress.layers import Factorized
from tensorpress.layers.kinds import is_layer
from tensorpress.surgery import match_patterns
from tensorpress.surgery.count import countable_layers

PRECISIONS = (AUTO, "f32", "bf16", INT8)
TOLERANCES = {"f32": 1e-3, "f16": 0.05, "bf16": 0.2}
"""How far a plan may be from the network, of its largest output: rounding, over many layers.

What is computed in int8 is judged on calibration images instead.
"""


def tolerance_of(precision: str) -> float:
    """The same of any that a runtime may choose by itself."""
    return TOLERANCES.get(precision, max(TOLERANCES.values()))


class Usable(NamedTuple):
    """A runtime that is installed.

    Attributes:
        precision: what it is to compute in; what was asked for, or its own choice for "auto".
    """

    runtime: Runtime
    version: str
    precision: str


def find_runtime(name: str) -> Runtime:
    """The runtime of this name.

    Raises:
        TensorpressError: there is none.
    """
    if not isinstance(name, str) or name not in RUNTIMES:
        raise TensorpressError(f"no runtime {shown(name)}; there is: {', '.join(RUNTIMES)}.")
    return RUNTIMES[name]


def usable(name: str, precision: str) -> Usable:
    """The runtime of this name, its version, and what it computes in.

    Raises:
        TensorpressError: there is none, it is not installed or does not compute in ``precision``.
    """
    kind = find_runtime(name)
    with quiet():
        version = next(iter(kind.versions().values()))
        own = kind.own_precision()
    if precision == AUTO:
        return Usable(kind, version, own)
    if precision not in kind.precisions:
        other = [n for n, runtime in RUNTIMES.items() if precision in runtime.precisions]
        raise TensorpressError(
            f"{name} computes in {', '.join(kind.precisions)}, not in {precision}: leave the "
            f"precision out, or take another runtime ({', '.join(other)})."
        )
    if precision == "bf16" and not kind.has_bf16():
        raise TensorpressError(
            "precision='bf16': this processor does not compute in bfloat16; leave it out."
        )
    return Usable(kind, version, precision)


def read_precision(precision: str) -> str:
    """
    Raises:
        TensorpressError: there is no such precision.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        names = ", ".join(f"'{name}'" for name in PRECISIONS[:-1])
        last = PRECISIONS[-1]
        raise TensorpressError(f"precision={shown(precision)}: give {names} or '{last}'.")
    return precision


def read_keep_float(patterns: Iterable[str], net: nn.Module, precision: str) -> tuple[str, ...]:
    """The layers of ``net`` that stay in float32, by name, in its order.

    What stands for a layer and holds others goes by its own name, as an account has it, too.

    Raises:
        TensorpressError: no patterns, one that fits no layer, or no int8 to be kept out of.
    """
    if not isinstance(patterns, Iterable):
        raise TensorpressError(
            f"keep_float={shown(patterns)}: give names or patterns of layers, such as ['head']."
        )
    given = [patterns] if isinstance(patterns, str) else list(patterns)
    if given and precision != INT8:
        raise TensorpressError(
            "keep_float= names layers that stay in float32 in a network in int8: give "
            "precision='int8', or leave it out."
        )
    if not given:
        return ()
    layers = [n for n, m in net.named_modules() if isinstance(m, Factorized) or is_layer(m)]
    inside = tuple(f"{n}." for n in factorized_layers(net))
    names = [name for name in layers if not name.startswith(inside)]
    of_account = {
        name: next((of for of in countable_layers(net) if f"{name}.".startswith(f"{of}.")), name)
        for name in names
    }
    known = [*dict.fromkeys([*of_account.values(), *names])]
    meant = match_patterns(net, known, dict.fromkeys(given, True), "keep_float")
    return tuple(name for name in names if name in meant or of_account[name] in meant)


def read_threads(threads: int | None) -> int:
    """The number of threads of a call.

    Raises:
        TensorpressError: as `refuse_threads`.
    """
    refuse_threads(threads)
    return threads or torch.get_num_threads()
