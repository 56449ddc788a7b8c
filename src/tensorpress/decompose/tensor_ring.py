"""TR-SVD: a tensor as a ring of cores (Zhao, Zhou, Xie, Zhang and Cichocki, 2016)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tensorpress.decompose.checks import at_unit_scale, check_rule, relative_error
from tensorpress.decompose.common_ranks import tt_svd_common
from tensorpress.errors import TensorpressError
from tensorpress.ranks.rules import RankRule, Ranks, RelativeError


@dataclass(frozen=True)
class TensorRing:
    """A tensor of shape (I_1, ..., I_N) as N cores in a ring.

    Attributes:
        cores: core n of shape (R_{n-1}, I_n, R_n), with R_N = R_0: an entry of the tensor is the
            trace of the product of the cores' slices.
        relative_error: ``||W - TR||_F / ||W||_F``.
    """

    cores: tuple[Tensor, ...]
    relative_error: float

    @property
    def ranks(self) -> tuple[int, ...]:
        """(R_0, ..., R_{N-1})."""
        return tuple(core.shape[0] for core in self.cores)


def tensor_ring(tensors: Sequence[Tensor], rank: RankRule) -> list[TensorRing]:
    """Decompose tensors of one shape into rings with the same ranks by TR-SVD (Algorithm 1).

    The first unfolding, I_1 x (I_2 ... I_N), is cut at a rank that is split into R_0 R_1 with the
    least difference, the smaller one first: a prime rank gives R_0 = 1, which is a train. R_0 then
    joins the last mode, and TT-SVD goes on with the rest. ``Ranks(R0, R1, ...)`` fixes them; a pair
    over the first unfolding's bound is lowered, R1 before R0. ``RelativeError(eps)`` allows the
    first step a squared error of 2 eps^2 / N, as the paper does, and each other one eps^2 / N, of
    what the first one kept.

    Args:
        tensors: order N >= 2, floating point, all of one shape.

    Raises:
        TensorpressError: as :func:`tensorpress.decompose.tt_svd`.
    """
    check_rule(rank)
    prepared = [at_unit_scale(tensor) for tensor in tensors]
    modes = tuple(tensors[0].shape)
    if isinstance(rank, Ranks) and len(rank.values) != len(modes):
        raise TensorpressError(
            f"{rank} gives {len(rank.values)} ranks, but a ring of order {len(modes)} "
            f"takes {len(modes)}."
        )
    pair, first, rest = _rules(rank, modes)
    cut = tt_svd_common([tensor.flatten(1) for tensor, _ in prepared], first)
    if pair is None:
        pair = split_rank(cut[0].ranks[0])
    firsts = [_signed(*train.cores) for train in cut]
    heads = [_head(core, pair) for core, _ in firsts]
    opened = [_opened(rest, pair, modes) for _, rest in firsts]
    tails = [train.cores for train in tt_svd_common(opened, rest)] if len(modes) > 2 else None
    rings = []
    for n, (tensor, (_, scale)) in enumerate(zip(tensors, prepared, strict=True)):
        cores = [heads[n], *(tails[n] if tails else [opened[n].unsqueeze(0)])]
        cores[1] = cores[1].reshape(pair[1], modes[1], -1) if len(modes) > 2 else cores[1]
        last = cores[-1].reshape(-1, modes[-1], pair[0])
        rings.append(_made([*cores[:-1], scale * last], tensor))
    return rings


def contract_ring(cores: Sequence[Tensor]) -> Tensor:
    """Multiply a ring out: cores (R_{n-1}, I_n, R_n) to (I_1, ..., I_N), in their dtype."""
    full = cores[0]
    for core in cores[1:]:
        full = torch.tensordot(full, core, dims=1)
    return torch.einsum("a...a->...", full)


def split_rank(rank: int) -> tuple[int, int]:
    """(a, b) with a b = rank, a <= b and b - a least."""
    smaller = next(a for a in range(math.isqrt(rank), 0, -1) if rank % a == 0)
    return smaller, rank // smaller


def _rules(
    rank: RankRule, modes: tuple[int, ...]
) -> tuple[tuple[int, int] | None, RankRule, RankRule]:
    """R_0 and R_1 where they are fixed, and the rules of the first step and of those after it."""
    order = len(modes)
    if isinstance(rank, Ranks):
        bound = min(modes[0], math.prod(modes[1:]))
        closing = min(rank.values[0], bound)
        pair = closing, min(rank.values[1], bound // closing)
        return pair, Ranks(pair[0] * pair[1]), Ranks(*(rank.values[2:] or (1,)))
    if isinstance(rank, RelativeError) and order > 2:
        shares = 2 / order, (order - 2) / order
        return None, *(RelativeError(rank.eps * math.sqrt(share)) for share in shares)  # type: ignore[return-value]
    return None, rank, rank


def _signed(core: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """The largest entry of each singular vector made positive: how the rest splits hangs on it."""
    largest = core[0].abs().argmax(0, keepdim=True)
    signs = core[0].gather(0, largest).sign()
    return core * signs, rest * signs[0, :, None, None]


def _head(core: Tensor, pair: tuple[int, int]) -> Tensor:
    """The first core, (R_0, I_1, R_1), from the singular vectors (1, I_1, R_0 R_1)."""
    return core[0].reshape(-1, *pair).permute(1, 0, 2)


def _opened(core: Tensor, pair: tuple[int, int], modes: tuple[int, ...]) -> Tensor:
    """What is left, (R_0 R_1, I_2 ... I_N, 1), as (R_1 I_2, ..., I_N R_0)."""
    rest = core.reshape(*pair, *modes[1:]).movedim(0, -1)
    if len(modes) == 2:
        return rest.flatten(1)
    return rest.reshape(pair[1] * modes[1], *modes[2:-1], modes[-1] * pair[0])


def _made(cores: Sequence[Tensor], tensor: Tensor) -> TensorRing:
    error = relative_error(tensor.double(), contract_ring(cores))
    rounded = tuple(core.to(tensor.dtype).contiguous() for core in cores)
    return TensorRing(rounded, error)
