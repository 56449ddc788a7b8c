"""The examples in the docstrings of ``tensorpress.decompose`` run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import tensorpress.decompose as package

MODULES = [info.name for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")]


@pytest.mark.parametrize("module", MODULES)
def test_examples(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_there_are_examples() -> None:
    modules = [importlib.import_module(name) for name in MODULES]
    assert sum(doctest.testmod(module).attempted for module in modules) >= 6
