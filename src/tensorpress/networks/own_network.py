"""A network of one's own, from a spec `package.module:function`."""

import copy
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from tensorpress.errors import TensorpressError, first_line


def own_network(spec: str, arguments: Mapping[str, int] | None = None) -> nn.Module:
    """Import `package.module` and call its `function`, which returns the network.

    The working directory is searched first, then Python's path, as `python -m` does; a module may
    be given as its file there, `package/module.py`. Those of
    `arguments` that the function names as parameters are passed by keyword; the others are not
    passed, so a function without arguments works too. A module object in place of the function
    is copied.

    Raises:
        TensorpressError: the spec is malformed, there is no such module or attribute, importing
            or calling it fails, or what it returns is no `torch.nn.Module`.
    """
    with _working_directory_on_path():
        target = _target(spec)
        network = (
            copy.deepcopy(target)
            if isinstance(target, nn.Module)
            else _call(spec, target, arguments or {})
        )
    if not isinstance(network, nn.Module):
        raise TensorpressError(
            f"{spec} must return a torch.nn.Module, "
            f"but it returned an object of type {type(network).__name__}"
        )
    return network


def takes(spec: str, argument: str) -> bool:
    """Whether what a spec names has a parameter of this name, which `own_network` passes it.

    Raises:
        TensorpressError: as `own_network`, as far as the call.
    """
    with _working_directory_on_path():
        target = _target(spec)
    if isinstance(target, nn.Module) or not callable(target):
        return False
    return argument in _named_parameters(target)


def _target(spec: str) -> object:
    module_name, _, attribute = spec.partition(":")
    if module_name.endswith(".py"):
        parts = Path(module_name).with_suffix("").parts
        if Path(module_name).is_absolute():
            raise TensorpressError(
                f"{spec}: give the file as it lies in the working directory, or on Python's path."
            )
        module_name = ".".join(parts)
    if not module_name or not attribute or module_name.startswith("."):
        raise TensorpressError(f"'{spec}' is not of the form package.module:function")
    return _attribute(spec, _import(spec, module_name), attribute)


def _import(spec: str, module_name: str) -> object:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # A module that is there but imports a missing one is another mistake than a wrong name.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise TensorpressError(
                f"{spec}: importing {module_name} failed: {first_line(error)}"
            ) from error
        raise TensorpressError(
            f"{spec}: there is no module '{module_name}' in the working directory "
            "or on Python's path"
        ) from error
    except (Exception, SystemExit) as error:
        raise TensorpressError(f"{spec}: importing {module_name} failed: {_told(error)}") from error


def _attribute(spec: str, module: object, attribute: str) -> object:
    target = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            raise TensorpressError(
                f"{spec}: {spec.partition(':')[0]} has no attribute '{attribute}'"
            )
        target = getattr(target, part)
    return target


def _call(spec: str, target: object, arguments: Mapping[str, int]) -> object:
    if not callable(target):
        raise TensorpressError(
            f"{spec} must be a function that returns a torch.nn.Module, "
            f"but it is of type {type(target).__name__}"
        )
    accepted = _named_parameters(target)
    try:
        return target(**{key: value for key, value in arguments.items() if key in accepted})
    except (Exception, SystemExit) as error:
        raise TensorpressError(f"{spec} failed: {_told(error)}") from error


def _named_parameters(function: Callable[..., Any]) -> set[str]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return set()
    return {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


@contextmanager
def _working_directory_on_path() -> Iterator[None]:
    directory = os.getcwd()
    importlib.invalidate_caches()
    sys.path.insert(0, directory)
    try:
        yield
    finally:
        sys.path.remove(directory)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"
