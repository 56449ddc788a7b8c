"""What this machine has for networks, what is used for what, and what to install for more."""

import contextlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from tensorpress.choices import AUTO, INT8
from tensorpress.cores import usable_cores
from tensorpress.deploy.planning.setting import usable
from tensorpress.deploy.runtimes import RUNTIMES
from tensorpress.deploy.runtimes.processor import computes_in_bf16, processor
from tensorpress.errors import TensorpressError
from tensorpress.version import VERSION

FOR_WORK_ON_IT = ("dev", "bench")
"""Extras that nobody needs who compresses networks."""
REQUIRED = re.compile(r"^([\w.-]+).*;.*extra == ['\"](\w+)['\"]")


@dataclass(frozen=True)
class Package:
    """An optional package: its version, or None and how it is installed."""

    name: str
    version: str | None
    install: str


@dataclass(frozen=True)
class RuntimeHere:
    """A runtime: its version and what it computes in by itself, or why it cannot be used.

    Attributes:
        precisions: that it computes in on this machine.
    """

    name: str
    version: str | None
    own_precision: str | None
    precisions: tuple[str, ...]
    reason: str | None


@dataclass(frozen=True)
class Facts:
    """What is here.

    Attributes:
        processor: with what it has for networks.
        cores: that this process may use.
        threads: that PyTorch uses.
        memory: bytes; None where the system does not tell.
        gpu: None where PyTorch sees none.
        bf16: whether the processor computes in bfloat16.
        trains_on: what training takes, where no device and precision are asked for.
        int8: the runtimes that compute in it here.
        install: commands that bring what is missing.
    """

    tensorpress: str
    python: str
    torch: str
    processor: str
    cores: int
    threads: int
    memory: int | None
    gpu: str | None
    bf16: bool
    trains_on: str
    int8: tuple[str, ...]
    runtimes: tuple[RuntimeHere, ...]
    packages: tuple[Package, ...]
    install: tuple[str, ...]


def facts(libraries: Sequence[str] = ()) -> Facts:
    """Look at this machine.

    Args:
        libraries: packages besides those of the extras, installed by their own names.
    """
    runtimes = tuple(_runtime(name) for name in RUNTIMES)
    packages = tuple(_packages(libraries))
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return Facts(
        tensorpress=VERSION,
        python=platform.python_version(),
        torch=torch.__version__,
        processor=processor(),
        cores=usable_cores(),
        threads=torch.get_num_threads(),
        memory=_memory(),
        gpu=gpu,
        bf16=computes_in_bf16(),
        trains_on="the processor in float32" if gpu is None else "the GPU in bfloat16",
        int8=tuple(runtime.name for runtime in runtimes if INT8 in runtime.precisions),
        runtimes=runtimes,
        packages=packages,
        install=tuple(dict.fromkeys(p.install for p in packages if p.version is None)),
    )


def _runtime(name: str) -> RuntimeHere:
    try:
        found = usable(name, AUTO)
    except TensorpressError as error:
        return RuntimeHere(name, None, None, (), str(error))
    has_bf16 = found.runtime.has_bf16()
    precisions = tuple(p for p in found.runtime.precisions if p != "bf16" or has_bf16)
    return RuntimeHere(name, found.version, found.precision, precisions, None)


def _packages(libraries: Sequence[str]) -> Iterator[Package]:
    try:
        required = importlib.metadata.requires("tensorpress") or []
    except importlib.metadata.PackageNotFoundError:
        required = []
    seen = set[str]()
    for found in filter(None, map(REQUIRED.match, required)):
        name, extra = found.groups()
        if extra not in FOR_WORK_ON_IT and name not in seen:
            seen.add(name)
            yield Package(name, _version(name), f"pip install 'tensorpress[{extra}]'")
    for name in libraries:
        yield Package(name, _version(name), f"pip install {name}")


def _version(name: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _memory() -> int | None:
    with contextlib.suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
