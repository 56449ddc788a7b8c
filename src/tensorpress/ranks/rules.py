"""Rank rules: how many singular values a step of TT-SVD keeps.

Their options stand in the help of every command that compresses, so that the arithmetic is imported
where a rank is chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from tensorpress.errors import TensorpressError, shown
from tensorpress.settings import Option, from_json, option, to_json

if TYPE_CHECKING:
    from tensorpress.ranks.spectrum import Spectrum

PANEL = "How much to keep (one of these)"
"""Where ``--help`` lists what says how much of a layer is kept."""


@dataclass(frozen=True)
class Step:
    """Where in the TT-SVD a rank is chosen.

    Attributes:
        index: 0 for the first truncation.
        count: number of truncations, N - 1 for a tensor of order N.
        energy: squared Frobenius norm of the whole tensor, in the units of the spectrum.
        shape: of the matrix that is truncated.
    """

    index: int
    count: int
    energy: float
    shape: tuple[int, ...] = ()


class RankRule(ABC):
    """Chooses the rank of one truncation from its singular values.

    Singular values are known up to rounding, so a rule answers twice: the rank that is enough
    whatever the rounding did (``pessimistic``) and the one that would be enough at best. Where
    both agree, the choice is certain; where they differ, TT-SVD computes more precisely.
    """

    @abstractmethod
    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:
        """The rank, between 1 and ``len(spectrum.squares)``."""

    def check_order(self, order: int) -> None:  # noqa: B027 - most rules suit every order
        """Raise TensorpressError if the rule does not suit tensors of this order."""


Rule = TypeVar("Rule", bound=type[RankRule])
RULES: dict[str, type[RankRule]] = {}
"""The rules that files and command lines know, by the names of their classes."""


def registered(rule: Rule) -> Rule:
    """Add a rule, a dataclass, to :data:`RULES`."""
    RULES[rule.__name__] = rule
    return rule


def rule_to_json(rule: RankRule) -> dict[str, Any]:
    """A rule as JSON values; one that is not registered by its text, which nothing reads."""
    name = type(rule).__name__
    if RULES.get(name) is not type(rule):
        return {"rule": repr(rule)}
    return {"rule": name, **to_json(rule)}


def rule_from_json(content: Mapping[str, Any], where: str = "rank") -> RankRule:
    """The rule that :func:`rule_to_json` wrote, such as {"rule": "Energy", "tau": 0.8}.

    Raises:
        TensorpressError: an unknown rule, or values that are not its own; ``where`` is named.
    """
    name = content.get("rule")
    if not isinstance(name, str) or name not in RULES:
        raise TensorpressError(
            f"{where}.rule is {shown(name)}: there is no such rank rule; there is: "
            f"{', '.join(RULES)}."
        )
    values = {key: value for key, value in content.items() if key != "rule"}
    return from_json(RULES[name], values, f"{where}.")


@registered
@dataclass(frozen=True)
class Energy(RankRule):
    """Keep more than the share ``tau`` of the energy at every step (eq. 14 of the paper).

    The rank is the smallest j with ``sum_{i<=j} s_i^2 / sum_i s_i^2 > tau``, strictly.
    ``Energy(1.0)`` keeps full rank.

    >>> Energy(0.6)
    Energy(tau=0.6)
    """

    tau: float = field(
        metadata=option(
            "--energy",
            help="Share of the energy (squared singular values) that every step keeps: eq. 14 of "
            "the paper, in (0, 1]. Less keeps less: 0.8 is a good start, 0.6 is strong.",
            panel=PANEL,
        )
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", _share("Energy", self.tau))

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:  # noqa: ARG002
        return spectrum.first_above(self.tau, pessimistic=pessimistic)


@registered
@dataclass(frozen=True)
class SingularSum(RankRule):
    """Keep more than the share ``tau`` of the plain sum of singular values at every step.

    The rank is the smallest j with ``sum_{i<=j} s_i / sum_i s_i > tau``, strictly. The parameter
    ratios that the paper prints beside its thresholds fit this rule, not eq. 14 as printed.
    ``SingularSum(1.0)`` keeps full rank.
    """

    tau: float = field(
        metadata=option(
            "--singular-sum",
            help="Share of the plain sum of singular values that every step keeps, in (0, 1].",
            panel=PANEL,
        )
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "tau", _share("SingularSum", self.tau))

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:  # noqa: ARG002
        return spectrum.first_above(self.tau, pessimistic=pessimistic, power=0.5)


@registered
@dataclass(frozen=True)
class RelativeError(RankRule):
    """Keep what ``||W - TT||_F <= eps ||W||_F`` needs (Oseledets 2011, Theorem 2.2).

    Every step discards at most ``delta = eps / sqrt(N - 1) * ||W||_F``. This is a promise on the
    error of the whole, where :class:`Energy` is a share per step.
    """

    eps: float = field(
        metadata=option(
            "--relative-error",
            help="Largest relative error of each kernel, in [0, 1).",
            panel=PANEL,
        )
    )

    def __post_init__(self) -> None:
        if not (_is_number(self.eps) and 0.0 <= self.eps < 1.0):
            raise TensorpressError(
                f"RelativeError({shown(self.eps)}): the relative error must be a number, "
                "at least 0 and below 1."
            )
        object.__setattr__(self, "eps", float(self.eps))

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:
        allowed = self.eps**2 * step.energy / step.count
        return max(1, spectrum.first_within(allowed, pessimistic=pessimistic))


@registered
@dataclass(frozen=True, init=False)
class Ranks(RankRule):
    """Fixed ranks (R1, ..., R_{N-1}); one over the bound of eq. 15 is clamped to it.

    >>> Ranks(8, 12, 6)
    Ranks(8, 12, 6)
    """

    values: tuple[int, ...] = field(
        metadata=option(
            "--ranks", help="The same ranks for every layer, such as 8,12,6.", panel=PANEL
        )
    )

    def __init__(self, *values: int | Sequence[int]) -> None:
        listed = len(values) == 1 and isinstance(values[0], Sequence)
        ranks: Sequence[Any] = values[0] if listed else values  # type: ignore[assignment]
        for rank in ranks:
            if isinstance(rank, bool) or not isinstance(rank, Integral) or rank < 1:
                raise TensorpressError(
                    f"Ranks{shown(tuple(ranks))}: every rank must be a whole number of at least 1."
                )
        if not ranks:
            raise TensorpressError("Ranks(): give at least one rank, as in Ranks(8, 12, 6).")
        object.__setattr__(self, "values", tuple(int(rank) for rank in ranks))

    def __repr__(self) -> str:
        return f"Ranks({', '.join(map(str, self.values))})"

    def check_order(self, order: int) -> None:
        if len(self.values) != order - 1:
            raise TensorpressError(
                f"{self} gives {len(self.values)} ranks, but a tensor of order {order} "
                f"takes {order - 1}."
            )

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:  # noqa: ARG002
        return min(self.values[step.index], len(spectrum.squares))


@registered
@dataclass(frozen=True)
class VBMF(RankRule):
    """The rank that empirical variational Bayes matrix factorization finds.

    The global analytic solution of Nakajima, Sugiyama, Babacan and Tomioka (*Global analytic
    solution of fully-observed variational Bayesian matrix factorization*, JMLR 14, 2013), with the
    variance of the noise estimated: singular values that noise explains are dropped. It has no
    threshold to choose. Kim et al. (2016) take the ranks of their Tucker-2 layers from it. At least
    rank 1 is kept.

    >>> VBMF()
    VBMF()
    """

    flag: ClassVar[Option] = Option(
        "--vbmf",
        help="Ranks by variational Bayes, without a threshold, for the methods that know it: "
        "{methods}.",
        panel=PANEL,
    )

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:  # noqa: ARG002
        if not spectrum.squares.any():
            return 1
        from tensorpress.ranks.vbmf import vbmf_rank

        return max(1, vbmf_rank(spectrum.squares, (step.shape[0], step.shape[1])))


@dataclass(frozen=True)
class RankShare(RankRule):
    """Keep this share of the full rank at every step, rounded down, and at least 1."""

    share: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "share", _share("RankShare", self.share))

    def choose(self, spectrum: Spectrum, step: Step, *, pessimistic: bool) -> int:  # noqa: ARG002
        return max(1, int(self.share * len(spectrum.squares)))


def _share(rule: str, tau: float) -> float:
    if not (_is_number(tau) and 0.0 < tau <= 1.0):
        raise TensorpressError(
            f"{rule}({shown(tau)}): the share to keep must be a number above 0 and at most 1; "
            "1 keeps everything, 0.6 is a strong compression."
        )
    return float(tau)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
