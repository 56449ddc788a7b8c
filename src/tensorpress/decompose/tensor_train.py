"""TT-SVD: a tensor as a train of third-order cores (Oseledets 2011; Algorithm 1 of the paper)."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tensorpress.decompose.checks import check_rule, check_tensor
from tensorpress.decompose.truncated_svd import ChooseRank, Grams, truncated_svd
from tensorpress.errors import TensorpressError
from tensorpress.ranks.rules import RankRule, Step
from tensorpress.ranks.spectrum import Spectrum


@dataclass(frozen=True)
class TensorTrain:
    """A tensor of shape (I_1, ..., I_N) as N cores.

    Attributes:
        cores: core n has shape (R_{n-1}, I_n, R_n) with R_0 = R_N = 1, the tensor's dtype and
            device. All but the last are left-orthogonal, so the last one holds the scale.
        shares: the share of the energy that each of the N - 1 steps kept.
        relative_error: ``||W - TT||_F / ||W||_F``, from the discarded singular values (the steps
            discard orthogonal parts, so their energies add up); for float16 and bfloat16 measured
            on the rounded cores. 0 for a zero tensor.
        solvers: how each step was solved: "gram32", "gram64", "svd" or "zero".
    """

    cores: tuple[Tensor, ...]
    shares: tuple[float, ...]
    relative_error: float
    solvers: tuple[str, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        """(R_1, ..., R_{N-1})."""
        return tuple(core.shape[2] for core in self.cores[:-1])

    @property
    def kept_energy(self) -> float:
        """``||TT||^2 / ||W||^2``, the product of the steps' shares."""
        return math.prod(self.shares)

    def to_tensor(self) -> Tensor:
        """The full tensor, shape (I_1, ..., I_N), in the cores' dtype."""
        cores = self.cores
        with torch.autocast(cores[0].device.type, enabled=False):
            return contract(cores).to(cores[0].dtype)


def tt_svd(
    tensor: Tensor, rank: RankRule, *, grams: Grams | None = None, rough: bool = False
) -> TensorTrain:
    """Decompose ``tensor`` into a tensor train by N - 1 truncated SVDs.

    Step n unfolds what is left as (R_{n-1} I_n) x (I_{n+1} ... I_N), keeps the R_n leading
    singular triplets that ``rank`` asks for, makes the left vectors core n and goes on with the
    rest. The ranks obey ``R_n <= min(R_{n-1} I_n, I_{n+1} ... I_N)`` (eq. 15).

    float32 and half precision tensors are worked on in float32, float64 ones in float64. Each
    truncation uses the Gram matrix where its loss of accuracy (singular values under
    ``sqrt(eps)`` of the largest are noise) cannot show, and a float64 SVD where it could;
    :func:`tensorpress.decompose.truncated_svd.truncated_svd` states the test.

    Args:
        tensor: order N >= 2, floating point, finite, on any device. It is not changed.
        rank: :class:`Energy`, :class:`SingularSum`, :class:`RelativeError` or :class:`Ranks`.
        grams: keeps what the first step, which is the same for all ranks, has found out, for
            another call with the same tensor.
        rough: digits of float32 suffice, also for the choice of ranks.

    Raises:
        TensorpressError: an order under 2, an empty, integer or complex tensor, NaN or inf, cores
            that overflow a half precision dtype, no rank rule, or a number of fixed ranks that
            does not suit the order.

    >>> from tensorpress import Energy
    >>> train = tt_svd(torch.ones(4, 3, 3, 8), Energy(0.9))
    >>> train.ranks
    (1, 1, 1)
    >>> [tuple(core.shape) for core in train.cores]
    [(1, 4, 1), (1, 3, 1), (1, 3, 1), (1, 8, 1)]
    """
    peak = _check(tensor, rank)
    tensor = tensor.detach()
    if peak == 0:
        return _zero_train(tensor, rank)
    with torch.autocast(tensor.device.type, enabled=False):
        return _decompose(tensor, rank, peak, grams, rough)


def _decompose(
    tensor: Tensor, rank: RankRule, peak: float, grams: Grams | None, rough: bool
) -> TensorTrain:
    """TT-SVD of a tensor whose largest absolute entry is ``peak``, above 0."""
    shape, steps = tensor.shape, tensor.dim() - 1
    work = tensor if tensor.dtype == torch.float64 else tensor.float()
    scale = _scale(peak)
    rest = work if scale == 1.0 else work / scale

    cores, shares, solvers, discarded = [], [], [], 0.0
    previous, energy = 1, 0.0
    for n in range(steps):
        unfolding = rest.reshape(previous * shape[n], -1)
        at = Step(n, steps, energy, tuple(unfolding.shape))
        choose, kept_grams = chooser(rank, at), None if n else grams
        cut = truncated_svd(unfolding, choose, grams=kept_grams, rough=rough)
        energy = energy or float(cut.spectrum.squares.sum())
        kept = cut.basis.shape[1]
        cores.append(cut.basis.reshape(previous, shape[n], kept))
        shares.append(cut.spectrum.share(kept))
        solvers.append(cut.solver)
        discarded += cut.spectrum.discarded(kept)
        rest, previous = cut.rest, kept
    cores.append((rest if scale == 1.0 else rest * scale).unsqueeze(2))

    rounded = tuple(core.to(tensor.dtype).contiguous() for core in cores)
    if not bool(torch.isfinite(rounded[-1]).all()):
        raise TensorpressError(
            f"the last core, which holds the tensor's scale, overflows {tensor.dtype}: "
            "convert the tensor to a dtype of wider range, or scale it down."
        )
    error = math.sqrt(discarded / energy)
    if work.dtype != tensor.dtype:
        error = float((contract(rounded) - work).div(scale).norm()) / math.sqrt(energy)
    return TensorTrain(rounded, tuple(shares), error, tuple(solvers))


def contract(cores: tuple[Tensor, ...]) -> Tensor:
    """Multiply a train out: cores (R_{n-1}, I_n, R_n) to (I_1, ..., I_N), at least in float32."""
    work = cores[0].dtype if cores[0].dtype == torch.float64 else torch.float32
    full = cores[0].to(work).flatten(0, 1)
    for core in cores[1:]:
        full = (full @ core.to(work).flatten(1)).reshape(-1, core.shape[2])
    return full.reshape([core.shape[1] for core in cores])


def chooser(rank: RankRule, step: Step) -> ChooseRank:
    """The rank rule at one step; its energy is 0 at the first, whose spectrum sums to it."""

    def choose(spectrum: Spectrum, pessimistic: bool) -> int:
        at = step if step.energy else replace(step, energy=float(spectrum.squares.sum()))
        return rank.choose(spectrum, at, pessimistic=pessimistic)

    return choose


def _check(tensor: Tensor, rank: RankRule) -> float:
    """The largest absolute entry of a tensor that can be decomposed."""
    check_rule(rank)
    peak = check_tensor(tensor)
    rank.check_order(tensor.dim())
    return peak


def _scale(peak: float) -> float:
    """What to divide by so that no square over- or underflows: a power of two, which is exact."""
    return 1.0 if 1e-6 < peak < 1e6 else 2.0 ** (math.frexp(peak)[1] - 1)


def _zero_train(tensor: Tensor, rank: RankRule) -> TensorTrain:
    """Zero cores; rank 1 is enough unless ``rank`` fixes more."""
    shape, steps = tensor.shape, tensor.dim() - 1
    cores, previous = [], 1
    for n in range(steps + 1):
        following = 1
        if n < steps:
            bound = min(previous * shape[n], math.prod(shape[n + 1 :]))
            none = np.zeros(bound)
            following = rank.choose(Spectrum(none, none), Step(n, steps, 0.0), pessimistic=True)
        cores.append(tensor.new_zeros(previous, shape[n], following))
        previous = following
    return TensorTrain(tuple(cores), (1.0,) * steps, 0.0, ("zero",) * steps)
