"""The examples in the docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import tensorpress

MODULES = [
    info.name
    for info in pkgutil.walk_packages(tensorpress.__path__, "tensorpress.")
    if not info.name.endswith("__main__")
]
WITH_EXAMPLES = {
    "tensorpress.artifacts.structure",
    "tensorpress.compression.compress",
    "tensorpress.ranks.rules",
    "tensorpress.decompose.tensor_train",
    "tensorpress.layers.factorize",
    "tensorpress.layers.tensorized.factors",
    "tensorpress.layers.tensorized.tt_conv",
    "tensorpress.networks.build",
    "tensorpress.compression.pruning.prune",
    "tensorpress.surgery.count",
    "tensorpress.compression.tensorize",
    "tensorpress.training.recipes",
    "tensorpress.compression.share_weights",
}


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0
    assert result.attempted > 0 or name not in WITH_EXAMPLES


def test_every_module_is_looked_at() -> None:
    assert set(MODULES) >= WITH_EXAMPLES
