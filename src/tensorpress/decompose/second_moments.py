"""The metrics of what a layer is fed: second moments of its patches, whole or as the patches."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from tensorpress.decompose.precision import float32_is_full

RIDGE = 1e-4
"""Share of the mean eigenvalue that is added to all of them: no direction is free of charge."""

SINGLE_FROM = 1_024
"""Entries of a patch from which on errors are measured in float32."""

ROWS = 256
"""Patches that are worked on at once where a copy of all of them would be large."""

COLUMNS = 512
"""Entries of patches whose products with those before them are taken at once."""


class SecondMoments(ABC):
    """A symmetric positive semidefinite S of shape (P, P), P = I_1 ... I_n being the modes in.

    Attributes:
        size: P.
        is_regularised: whether :data:`RIDGE` was added.
    """

    size: int
    is_regularised: bool = False

    @abstractmethod
    def times(self, matrix: Tensor) -> Tensor:
        """``S M`` for M of shape (P, K), in the dtype of M."""

    @abstractmethod
    def matrix(self) -> Tensor:
        """S itself, (P, P)."""

    @abstractmethod
    def projected(self, left: Tensor, rest: int) -> "SecondMoments":
        """``(L (x) I)^T S (L (x) I)`` for L of shape (I, R), with P = I ``rest``."""

    @abstractmethod
    def covariance(self, leading: int) -> Tensor:
        """The mean of S over its trailing places, (leading, leading)."""

    @abstractmethod
    def rearranged(self, sizes: Sequence[int], order: Sequence[int]) -> "SecondMoments":
        """S of modes ``sizes`` with the modes in another order."""

    @abstractmethod
    def mean(self) -> float:
        """The mean eigenvalue."""

    @abstractmethod
    def plus(self, ridge: float) -> "SecondMoments":
        """``S + ridge I``."""

    def regularised(self) -> "SecondMoments":
        """With :data:`RIDGE` of the mean eigenvalue added; the identity in place of nothing.

        What is so already comes back itself, so that many can share it.
        """
        if self.is_regularised:
            return self
        mean = self.mean()
        found = self.plus(RIDGE * mean if mean > 0 else 1.0)
        found.is_regularised = True
        return found

    @property
    def in_single(self) -> bool:
        """Whether products are taken in float32 where their digits suffice, for their speed."""
        full = float32_is_full() and not torch.is_autocast_enabled("cpu")
        return self.size >= SINGLE_FROM and full

    def square(self, matrix: Tensor) -> float:
        """``tr(M^T S M)``, of a large S by products in float32, which halves the time."""
        given = matrix.float() if self.in_single else matrix
        return float((given * self.times(given)).sum(dtype=torch.float64))


class PlainMoments(SecondMoments):
    """The identity: the plain norm.

    Args:
        size: P.
        device: that the tensors lie on.
    """

    def __init__(self, size: int, device: torch.device | None = None) -> None:
        self.size, self.device = size, device

    def times(self, matrix: Tensor) -> Tensor:
        return matrix

    def matrix(self) -> Tensor:
        return self.covariance(self.size)

    def projected(self, left: Tensor, rest: int) -> SecondMoments:
        identity = torch.eye(rest, dtype=left.dtype, device=left.device)
        return WholeMoments(torch.kron(left.T @ left, identity))

    def covariance(self, leading: int) -> Tensor:
        return torch.eye(leading, dtype=torch.float64, device=self.device)

    def rearranged(self, sizes: Sequence[int], order: Sequence[int]) -> SecondMoments:  # noqa: ARG002
        return self

    def mean(self) -> float:
        return 1.0

    def plus(self, ridge: float) -> SecondMoments:  # noqa: ARG002
        return self

    def regularised(self) -> SecondMoments:
        return self


class WholeMoments(SecondMoments):
    """S as a matrix: kept as it is given, worked with in float64."""

    def __init__(self, matrix: Tensor) -> None:
        self._matrix = matrix
        self.size = len(matrix)
        self._in_order: dict[tuple[int, ...], SecondMoments] = {}
        self._single: Tensor | None = None

    def times(self, matrix: Tensor) -> Tensor:
        if matrix.dtype != torch.float32:
            return self._matrix.to(matrix.dtype) @ matrix
        if self._single is None:
            self._single = self._matrix.float()
        return self._single @ matrix

    def matrix(self) -> Tensor:
        return self._matrix.double()

    def projected(self, left: Tensor, rest: int) -> SecondMoments:
        half = apply_left(left, self._matrix.double(), rest)
        return WholeMoments(apply_left(left, half.T, rest))

    def covariance(self, leading: int) -> Tensor:
        places = self.size // leading
        blocks = self._matrix.double().reshape(leading, places, leading, places)
        return torch.einsum("cpdp->cd", blocks) / places

    def rearranged(self, sizes: Sequence[int], order: Sequence[int]) -> SecondMoments:
        wanted = tuple(order)
        if wanted == tuple(sorted(order)):
            return self
        if wanted not in self._in_order:
            axes = [*order, *(axis + len(sizes) for axis in order)]
            moved = self._matrix.reshape([*sizes, *sizes]).permute(axes)
            found = WholeMoments(moved.reshape(self.size, self.size))
            found.is_regularised = self.is_regularised
            self._in_order[wanted] = found
        return self._in_order[wanted]

    def mean(self) -> float:
        return float(self._matrix.diagonal().mean())

    def plus(self, ridge: float) -> SecondMoments:
        added = self._matrix.to(torch.float64, copy=True)
        added.diagonal().add_(ridge)
        return WholeMoments(added)


class SampledMoments(SecondMoments):
    """``S = X^T X / N + ridge (G (x) I)`` by the patches X that it is the mean of, (N, P).

    For kernels of so many entries that (P, P) would not fit: memory and work grow with N P.

    Args:
        patches: X, float32 or float64.
        ridge: of what is added.
        inner: G, symmetric; None for the identity.
    """

    def __init__(self, patches: Tensor, ridge: float = 0.0, inner: Tensor | None = None) -> None:
        self.patches, self.ridge, self.inner = patches, ridge, inner
        self.size = patches.shape[1]

    def times(self, matrix: Tensor) -> Tensor:
        answers = self.patches @ matrix.to(self.patches.dtype)
        product = (self.patches.T @ answers).to(matrix.dtype) / len(self.patches)
        return product + self.ridge * self._inner_times(matrix)

    def matrix(self) -> Tensor:
        product = (self.patches.T @ self.patches).double() / len(self.patches)
        identity = torch.eye(self.size, dtype=product.dtype, device=product.device)
        return product + self.ridge * self._inner_times(identity)

    def square(self, matrix: Tensor) -> float:
        answers = self.patches @ matrix.to(self.patches.dtype)
        seen = float(answers.square().sum(dtype=torch.float64)) / len(self.patches)
        return seen + self.ridge * float((matrix * self._inner_times(matrix)).sum())

    def projected(self, left: Tensor, rest: int) -> SecondMoments:
        seen = self.patches.reshape(len(self.patches), -1, rest)
        taken = (left.T.to(seen.dtype) @ seen).flatten(1)
        inner = left.T @ left if self.inner is None else left.T @ self.inner @ left
        found = SampledMoments(taken, self.ridge, inner)
        return WholeMoments(found.matrix()) if found.size <= len(self.patches) else found

    def covariance(self, leading: int) -> Tensor:
        places = self.size // leading
        found = torch.zeros(leading, leading, dtype=torch.float64, device=self.patches.device)
        for part in torch.split(self.patches, ROWS):
            moved = part.reshape(len(part), leading, places).transpose(0, 1).flatten(1)
            found += (moved @ moved.T).double()
        found /= len(self.patches) * places
        found.diagonal().add_(self.ridge)
        return found

    def rearranged(self, sizes: Sequence[int], order: Sequence[int]) -> SecondMoments:
        if list(order) == sorted(order):
            return self
        axes = [0, *(1 + axis for axis in order)]
        moved = self.patches.reshape(-1, *sizes).permute(axes).flatten(1)
        found = SampledMoments(moved, self.ridge)
        found.is_regularised = self.is_regularised
        return found

    def mean(self) -> float:
        return float(self.patches.square().mean(dtype=torch.float64)) + self.ridge

    def plus(self, ridge: float) -> SecondMoments:
        return SampledMoments(self.patches, self.ridge + ridge, self.inner)

    def _inner_times(self, matrix: Tensor) -> Tensor:
        if self.inner is None:
            return matrix
        rows = matrix.reshape(len(self.inner), -1)
        return (self.inner.to(rows.dtype) @ rows).reshape(matrix.shape)


def products(patches: Tensor) -> Tensor:
    """``X^T X`` for X of shape (..., N, P), of which little more than half is computed."""
    size = patches.shape[-1]
    found = patches.new_empty(*patches.shape[:-2], size, size)
    for start in range(0, size, COLUMNS):
        stop = min(start + COLUMNS, size)
        part = patches[..., start:stop].mT @ patches[..., :stop]
        found[..., start:stop, :stop] = part
        found[..., :start, start:stop] = part[..., :start].mT
    return found


def apply_left(left: Tensor, matrix: Tensor, rest: int) -> Tensor:
    """``(L (x) I)^T M``: rows (I, rest) become (R, rest)."""
    rows = matrix.reshape(left.shape[0], -1)
    return (left.T @ rows).reshape(left.shape[1] * rest, -1)
