"""The command that repeats a run or a compression, made from what was recorded of it."""

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tensorpress.choices import DATA_NAMES
from tensorpress.compression import Request
from tensorpress.errors import TensorpressError
from tensorpress.request import read_recovery
from tensorpress.settings import words_of
from tensorpress.training import Distillation, Recipe, recipes_for

LAYER_RULES = (
    "The compression had a rule for each of several layers or patterns, which only Python and "
    "--config take."
)
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Command:
    """A command line.

    Attributes:
        text: as it is typed into a shell.
        recorded: whether it is the one that was typed; otherwise it asks for the same settings.
        caveats: what has to be filled in, and what no command line says.
    """

    text: str
    recorded: bool = False
    caveats: tuple[str, ...] = ()


def repeat_run(config: Json, kind: str) -> Command | None:
    """The command for the configuration of a run of this kind; None where it makes no sense.

    It starts from our defaults or, with ``--paper``, the paper's: from those that are nearer.
    """
    asked = (_repeat_run(config, kind, paper=paper) for paper in (False, True))
    commands = [command for command in asked if command is not None]
    return min(commands, key=lambda it: (len(it.caveats), len(it.text)), default=None)


def _repeat_run(config: Json, kind: str, *, paper: bool) -> Command | None:
    words, caveats = ["tensorpress", kind], list[str]()
    try:
        if kind == "finetune":
            _finetune(config, words, caveats, paper=paper)
        else:
            _dense_or_whole(config, kind, words, caveats, paper=paper)
        _data(config["data"], words, caveats)
        words += ["--seed", str(int(config["seed"]))]
        words += ["--hold-back", str(int(config["hold_back"]))] * bool(config["hold_back"])
        words += ["--freeze-bn"] * bool(config["freeze_bn"])
        if config.get("bf16") is not None:
            words.append("--bf16" if config["bf16"] else "--no-bf16")
        if int(config["processes"]) > 1:
            caveats.append(
                f"It ran on {int(config['processes'])} processes: start it under accelerate launch."
            )
        return Command(shlex.join([*words, "-o", "RUN"]), caveats=tuple(caveats))
    except (KeyError, TypeError, ValueError, AttributeError, TensorpressError):
        return None


def repeat_compress(request: Request, source: Json) -> Command | None:
    """The command that asks ``compress`` for the same; None where it makes no sense."""
    words, caveats = ["tensorpress", "compress"], list[str]()
    try:
        words += ["--net", str(source["network"])]
        if source.get("as_made") is not True:
            words += ["--weights", "FILE", *_how_read(source)]
            caveats.append("FILE stands for the weights that it was compressed from.")
        words += ["--input-shape", ",".join(str(int(size)) for size in source["input_shape"])]
        if "input_dtype" in source:
            words += ["--input-dtype", str(source["input_dtype"])]
        if "num_classes" in source:
            words += ["--classes", str(int(source["num_classes"]))]
        if request.calibration is not None:
            words += ["--calibrate", "DIR"]
            if "mean" in source:
                _normalisation(source, words)
            caveats.append(
                "The images that it was calibrated on are not recorded: name them for DIR."
            )
        _compression(request, words, caveats)
        return Command(shlex.join([*words, "-o", "OUT"]), caveats=tuple(caveats))
    except (KeyError, TypeError, ValueError, AttributeError, TensorpressError):
        return None


def _dense_or_whole(
    config: Json, kind: str, words: list[str], caveats: list[str], *, paper: bool
) -> None:
    network = config["network"]
    words += ["--net", str(network["name"])]
    _weights("--weights", network["weights_sha256"], words, caveats)
    words += _how_read(network)
    recipes = recipes_for(network["name"], paper=paper)
    if kind == "train":
        _recipes([(Recipe.from_dict(config["train"]), recipes.train, "", "--lr")], words, caveats)
        return
    words += ["--paper"] * paper
    request = Request.from_dict(config["compression"])
    _compression(request, words, caveats)
    if request.calibration is None:
        words += ["--calibration-images", "0"] * (not paper)
    phases = [
        (Recipe.from_dict(config["train"]), recipes.train, "train-", "--lr"),
        (Recipe.from_dict(config["finetune"]), recipes.finetune, "finetune-", "--finetune-lr"),
    ]
    _recipes(phases, words, caveats)
    if config["distillation"]:
        words += ["--teacher"] * paper
        _distillation(config["distillation"], words)
    else:
        words += ["--no-teacher"] * (not paper)
    words += ["--control"] * bool(config["dense_control"])


def _finetune(config: Json, words: list[str], caveats: list[str], *, paper: bool) -> None:
    name = config["network"]["name"]
    words += ["--net", str(name)] + ["--paper"] * paper
    _weights("--compressed", config["compressed_sha256"], words, caveats, "COMPRESSED")
    if config["teacher"]:
        words += ["--teacher", "TEACHER", *_how_read(config["teacher"])]
        digest = config["teacher"]["weights_sha256"]
        caveats.append(f"TEACHER stands for the weights with the SHA-256 {digest}.")
        _distillation(config["distillation"], words)
    tuned = Recipe.from_dict(config["finetune"])
    own = recipes_for(name, paper=paper).finetune
    _recipes([(tuned, own, "", "--lr")], words, caveats)


def _weights(
    option: str, digest: Any, words: list[str], caveats: list[str], stand_in: str = "FILE"
) -> None:
    if digest is not None:
        words += [option, stand_in]
        caveats.append(f"{stand_in} stands for the file with the SHA-256 {digest}.")


def _how_read(weights: Json) -> list[str]:
    """The options that say how a weight file is read."""
    asked = ("ema", "allow_extra")
    return [f"--{name.replace('_', '-')}" for name in asked if weights.get(name) is True]


def _recipes(
    phases: list[tuple[Recipe, Recipe, str, str]], words: list[str], caveats: list[str]
) -> None:
    """Options for (recipe, the network's own, prefix of --epochs, option for the rate)."""
    common: dict[str, Any] = {}
    for option in ("weight_decay", "batch_size", "schedule", "optimizer", "mixup"):
        asked = {getattr(recipe, option) for recipe, _, _, _ in phases}
        if any(getattr(recipe, option) != getattr(own, option) for recipe, own, _, _ in phases):
            common[option] = next(iter(asked)) if len(asked) == 1 else None
    for recipe, own, prefix, rate in phases:
        words += [f"--{prefix}epochs", str(recipe.epochs)]
        if (recipe.lr, recipe.optimizer) != (own.lr, own.optimizer):
            words += [rate, repr(recipe.lr)]
    for option, value in common.items():
        if value is not None:
            words += [f"--{option.replace('_', '-')}", str(value)]
    given = {option: value for option, value in common.items() if value is not None}
    for recipe, own, _, _ in phases:
        reached = asdict(own.changed(epochs=recipe.epochs, lr=recipe.lr, **given))
        other = [key for key, value in asdict(recipe).items() if value != reached[key]]
        if other:
            shown = ", ".join(f"{key} = {getattr(recipe, key)}" for key in other)
            caveats.append(f"No option sets {shown}: that was asked for in Python.")


def _compression(request: Request, words: list[str], caveats: list[str]) -> None:
    asked, unsaid = words_of(request)
    words += asked
    if "rank" in unsaid:
        caveats.append(LAYER_RULES)
    if (request.rank is None and request.budget is None) or {"seed", "settings"} & {*unsaid}:
        raise TensorpressError("this was not asked of compress.")
    if request.calibration is None:
        return
    words += ["--calibration-images", str(request.calibration.images)]
    recovery = request.calibration.recovery
    words += ["--no-recover"] * (not recovery.distil_epochs)
    if recovery != read_recovery(recovery.distil_epochs > 0):
        caveats.append("No option sets the steps of its calibration; --config takes them.")


def _distillation(config: Json, words: list[str]) -> None:
    given, usual = Distillation(**config), Distillation()
    if given.temperature != usual.temperature:
        words += ["--temperature", repr(given.temperature)]
    if given.alpha != usual.alpha:
        words += ["--alpha", repr(given.alpha)]
    if given.layers != usual.layers:
        words += ["--follow", repr(given.layers)]


def _data(data: Json, words: list[str], caveats: list[str]) -> None:
    name = str(data["name"])
    words += ["--data", name]
    if name not in DATA_NAMES:
        caveats.append(f"--data {name}: give the path of the folder of that name.")
    if "framing" in data:
        framing = data["framing"]
        shape = [len(data["mean"]), *map(int, framing["crop"])]
        words += ["--input-shape", ",".join(map(str, shape))]
        words += ["--resize", str(int(framing["resize"]))]
        words += ["--interpolation", str(framing["interpolation"])]
    _normalisation(data, words)


def _normalisation(data: Json, words: list[str]) -> None:
    for option in ("mean", "std"):
        words += [f"--{option}", ",".join(repr(float(value)) for value in data[option])]
