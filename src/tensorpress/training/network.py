"""The network that a run starts from."""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from tensorpress.errors import TensorpressError, refuse_no_seed
from tensorpress.files import as_path
from tensorpress.networks import load_weights
from tensorpress.training.run_folder import training_of


@dataclasses.dataclass(frozen=True)
class Network:
    """How to make a network: ``build`` gives it, ``weights`` is a file to read into it.

    ``name`` stands in tables and in the run's configuration; ``built_trained`` says that ``build``
    gives trained weights, ``pretrained`` makes the network with those of its library. ``ema`` and
    ``allow_extra`` are as for :func:`tensorpress.networks.load_weights`.
    """

    name: str
    build: Callable[[], nn.Module]
    weights: Path | None = None
    built_trained: bool = False
    pretrained: Callable[[], nn.Module] | None = None
    ema: bool = False
    allow_extra: bool = False

    @property
    def is_trained(self) -> bool:
        """Whether it starts from trained weights."""
        given = self.weights is not None or self.pretrained is not None
        return self.built_trained or given

    def make(self, seed: int) -> nn.Module:
        """The network on the CPU, its untrained weights drawn with ``seed``.

        Raises:
            TensorpressError: the weight file does not fit, or no seed.
        """
        refuse_no_seed(seed)
        torch.manual_seed(seed)
        if self.weights is None:
            return (self.pretrained or self.build)()
        net = self.build()
        return load_weights(net, self.weights, ema=self.ema, allow_extra=self.allow_extra)

    def origin(self, epochs: int = 0) -> str:
        """Where its weights come from, in words, after ``epochs`` of training.

        A file is told by its name and the start of its SHA-256, and one that a run has left by
        where that began and the epochs that it took.

        Raises:
            TensorpressError: there is no such file.
        """
        start = ""
        if self.weights is not None:
            start = _origin_of(self.weights)
        elif self.pretrained is not None:
            start = f"the weights of {self.name}"
        elif self.built_trained:
            start = f"the weights that {self.name} is built with"
        if not epochs:
            return start or "not trained"
        return _trained(epochs, start)

    def fingerprint(self) -> dict[str, str | bool | None]:
        """Name, digest of the weight file and how it is read, for the configuration of a run."""
        digest = None if self.weights is None else file_digest(self.weights)
        read = {"ema": self.ema, "allow_extra": self.allow_extra}
        asked = {name: True for name, is_asked in read.items() if is_asked}
        return {"name": self.name, "weights_sha256": digest, **asked}


def _origin_of(weights: Path) -> str:
    file = f"{weights.name} (sha256 {file_digest(weights)[:8]})"
    start, epochs = training_of(weights)
    if epochs:
        return f"{file}, {_trained(epochs, start)}"
    return f"{file}, {start}" if start else file


def _trained(epochs: int, start: str) -> str:
    return f"{start}, trained on for {epochs} epochs" if start else f"trained for {epochs} epochs"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        TensorpressError: there is no such file.
    """
    try:
        with open(as_path(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TensorpressError(f"cannot read {path}: {error.strerror or error}.") from error
