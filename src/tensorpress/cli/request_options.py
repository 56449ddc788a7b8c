"""What a compression is asked for: by options, by the file that --config names, or by both."""

import dataclasses
import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from tensorpress.choices import KNOW_VBMF
from tensorpress.cli.grouped import AsOptions, is_given
from tensorpress.cli.options import read_names
from tensorpress.errors import TensorpressError, first_line, shown
from tensorpress.ranks import RULES
from tensorpress.ranks.rules import PANEL
from tensorpress.request import Budget, Recovery, Request, read_recovery
from tensorpress.request.budget import QUALITIES
from tensorpress.settings import given_by, options_of, read_options

if TYPE_CHECKING:
    from tensorpress.compression.pruning import Criterion
    from tensorpress.layers import Treatment

N = TypeVar("N")
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        help="Ask for what a file says: a request as JSON or TOML, the account.json or the .tp "
        "of compress, or the config.json of a run. Options given besides win.",
        rich_help_panel=PANEL,
    ),
]


def read_request(given: Mapping[str, Any], config: Path | None) -> Request:
    """The request of the options ``given``, by parameter, over that in the file ``config``.

    A rank rule or a budget among the options takes the place of the file's. Methods and precisions
    may be given one by one or by commas.

    Raises:
        TensorpressError: several rules or budgets, a value out of its range, options of a measured
            time where nothing is measured, or a file that holds no request; the file and the key
            are then named.
    """
    for listed in ("methods", "precisions"):
        if given.get(listed):
            names = [name for some in given[listed] for name in read_names(some)]
            given = {**given, listed: tuple(names)}
    rules = [name for rule in RULES.values() for name in _parameters(rule) if name in given]
    budget = any(name in given for name in _amounts(Budget))
    if len(rules) + budget > 1:
        raise _not_one("several")
    base = None if config is None else read_config(config)
    if base is not None and given.get("method", base.method) != base.method:
        base = dataclasses.replace(base, settings={}, seed=None)
    if base is not None and rules:
        base = dataclasses.replace(base, rank=None, budget=None)
    elif base is not None and budget:
        base = dataclasses.replace(base, rank=None, budget=_beside(base.budget, given))
    request = read_options(Request, given, base)
    _refuse_unmeasured(given, request.budget)
    return request


def check_asked(request: Request) -> "Sequence[Treatment] | Criterion":
    """How layers are treated; what `tensorpress.compress` would refuse is refused at the start.

    Raises:
        TensorpressError: no rank rule or budget, or both; or settings of another treatment.
    """
    from tensorpress.compression.checks import check_request

    if (request.rank is None) == (request.budget is None):
        raise _not_one("none" if request.rank is None else "several")
    return check_request(request)


def calibration_asked(
    context: typer.Context, request: Request, images: N, recover: bool = True
) -> tuple[int | N, bool | Recovery]:
    """How many images calibrate, and what is done with them: by options, else by the request."""
    asked = request.calibration
    if asked is None:
        return images, recover
    how = read_recovery(asked.recovery)
    if is_given(context, "recover"):
        epochs = read_recovery(recover).distil_epochs
        how = dataclasses.replace(how, distil_epochs=epochs)
    return images if is_given(context, "calibration_images") else asked.images, how


def read_config(path: Path) -> Request:
    """The request in a file: alone, as JSON or TOML, in an account.json, a .tp or a config.json.

    Raises:
        TensorpressError: no such file, or one that holds no request; the key is named.
    """
    from tensorpress import artifacts
    from tensorpress.files import as_path

    path = as_path(path)
    if path.is_dir():
        raise TensorpressError(
            f"--config {path} is a folder: give the account.json, the config.json or the .tp in it."
        )
    suffix = path.suffix.lower()
    if suffix == ".tp":
        account = artifacts.read_manifest(path).account
        if account is None:
            raise TensorpressError(f"--config {path} was saved without its account.")
        return _request(account["request"], path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors on Windows mark the encoding
        content = tomllib.loads(text) if suffix == ".toml" else _read_json(text)
    except FileNotFoundError:
        raise TensorpressError(f"--config {path}: there is no such file.") from None
    except (OSError, ValueError, RecursionError) as error:
        kind = "TOML" if suffix == ".toml" else "JSON, as all that does not end in .toml or .tp"
        raise TensorpressError(
            f"--config {path} cannot be read as {kind}: {first_line(error)}."
        ) from error
    if isinstance(content, dict):
        if "layers" in content and "request" in content:
            content = content["request"]
        elif "kind" in content and "network" in content:
            if "compression" not in content:
                raise TensorpressError(
                    f"--config {path} is of a run that compresses nothing: it has no 'compression'."
                )
            content = content["compression"]
    return _request(content, path)


def _read_json(text: str) -> Any:
    """As TOML is read: a key that stands twice in an object is an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for key, count in Counter(key for key, _ in pairs).items():
            if count > 1:
                raise ValueError(f"{shown(key)} stands there {count} times")
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def _request(content: Any, path: Path) -> Request:
    try:
        return Request.from_dict(content)
    except TensorpressError as error:
        raise TensorpressError(f"--config {path}: {error}") from error


def _parameters(kind: type) -> list[str]:
    return [known.option.parameter for known in options_of(kind)]


def _amounts(kind: type) -> list[str]:
    return [it.option.parameter for it in options_of(kind) if not it.option.beside]


def _beside(budget: Budget | None, given: Mapping[str, Any]) -> Budget | None:
    """A file's budget, unless it is of quality and others are given, or the other way round."""
    amounts = {*given, *(given_by(budget)[0] if budget else ())} & {*_amounts(Budget)}
    return None if len(amounts) > 1 and amounts & {*QUALITIES} else budget


def _refuse_unmeasured(given: Mapping[str, Any], budget: Budget | None) -> None:
    if budget is not None and (budget.is_timed or budget.of_quality):
        return
    options = [known.option for known in options_of(Budget)]
    idle = [it.name for it in options if it.beside and it.parameter in given]
    if idle:
        raise TensorpressError(
            f"{' and '.join(idle)}: no time is measured for what is asked for: give a budget of "
            "time or quality, such as --budget-speedup 2, or leave this out."
        )


def _not_one(given: str) -> TensorpressError:
    rules = [known.option.name for rule in RULES.values() for known in options_of(rule)]
    return TensorpressError(
        f"{given} of {', '.join(rules)} and --budget-params / --budget-macs "
        f"{'was' if given == 'none' else 'were'} given: give one, such as --energy 0.8 or "
        "--budget-params 4; filters are pruned to a budget."
    )


Asked = Annotated[Request, AsOptions(read_request, told={"methods": ", ".join(KNOW_VBMF)})]
"""All of a request but its calibration, whose options are each command's own."""
Selection = Annotated[
    Request,
    AsOptions(
        read_request,
        only=(
            "include",
            "exclude",
            "skip_first",
            "skip_output",
            "fold_parametrizations",
            "outputs",
        ),
    ),
]
"""Which layers alone."""
