"""Tests run several at a time (pytest -n), so each process has one thread."""

import copy
import functools
import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest

# Read when torch and numpy are loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_collection_finish() -> None:
    """What has been imported stays: to look for garbage in it takes a sixth of all tests' time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session", autouse=True)
def _plans_are_kept_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes what the user has measured."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TENSORPRESS_CACHE", str(tmp_path_factory.mktemp("plans")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _operators_are_read_once() -> Iterator[None]:
    """Every export to ONNX reads its tables of operators anew: half of a small one's time."""
    import torch

    export = torch.onnx.export

    def first(*arguments: Any, **options: Any) -> Any:
        from torch._export import utils
        from torch.onnx._internal.exporter._registration import ONNXRegistry

        read = functools.cache(ONNXRegistry.from_torchlib)

        def table(**asked: Any) -> ONNXRegistry:
            made = copy.copy(read(**asked))
            made.functions = {name: list(entries) for name, entries in made.functions.items()}
            return made

        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(table))
        # Gone through for each of thirty namespaces; no test adds to them.
        load = functools.cache(utils._materialize_cpp_cia_ops)
        patch.setattr(utils, "_materialize_cpp_cia_ops", load)
        patch.setattr(torch.onnx, "export", export)
        return export(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.onnx, "export", first)
        yield


@pytest.fixture
def measured_once() -> Iterator[None]:
    """Plans time everything a single time: which way is faster is not asked of them here."""
    from tensorpress.deploy.effort import ONCE, measuring_with

    with measuring_with(ONCE):
        yield
