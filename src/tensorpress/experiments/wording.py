"""What a row did, in the words of a table: its method, and how it was trained after that."""

from dataclasses import asdict, fields

from tensorpress.compression import Request
from tensorpress.training import Distillation, Recipe, Settings
from tensorpress.training.recipes import OURS

DENSE, CONTROL = "dense", "dense, trained on"
OPTIMIZERS = {"sgd": "SGD", "adamw": "AdamW", "muon": "Muon"}


def method_of(request: Request, distillation: Distillation | None) -> str:
    """What was done to a network: "TTPWT at PCR 4 and FCR 4, balanced, distilled".

    Args:
        distillation: how it was fine-tuned from a teacher; None where it was not.
    """
    rule = f"at {request.budget}" if request.budget else f"with {request.rank}"
    name = request.treated_by
    name = name.upper() if name == "ttpwt" else name  # as it is printed
    marks = [f"{name} {rule}"]
    if request.calibration:
        marks.append(f"calibrated on {request.calibration.images:,} images")
    marks += ["balanced"] * request.balance
    if distillation is not None:
        usual = asdict(Distillation())
        unlike = {n: value for n, value in asdict(distillation).items() if value != usual[n]}
        told = ", ".join(f"{name} {value:g}" for name, value in unlike.items())
        marks.append(f"distilled ({told})" if told else "distilled")
    return ", ".join(marks)


def name_of(method: str, recipe: str, *, is_int8: bool = False) -> str:
    """All that was done to a network: "auto at FCR 4, distilled, Muon at 0.0005, int8"."""
    return ", ".join([method, *filter(None, [recipe]), *["int8"] * is_int8])


def control_of(recipe: Recipe) -> str:
    """The method of the dense network trained on by ``recipe``: as it is at 0 epochs."""
    return CONTROL if recipe.epochs else DENSE


def recipe_of(
    recipe: Recipe, settings: Settings, processes: int = 1, epochs_before: int = 0
) -> str:
    """How a row was trained, but for its epochs: "SGD at 0.1, in steps"; "" where it was not.

    Told are the optimiser and what differs from our recipe of fine-tuning, and for how many epochs
    it had been fine-tuned before.

    >>> recipe_of(Recipe(8, lr=0.1, batch_size=64, milestones=(4, 6)), Settings())
    'SGD at 0.1, in steps, batches of 64'
    """
    earlier = [f"after {epochs_before} epochs before"] * bool(epochs_before)
    if not recipe.epochs:
        return ", ".join(earlier)
    ours = Recipe(recipe.epochs, **OURS)
    unlike = {f.name for f in fields(Recipe) if getattr(recipe, f.name) != getattr(ours, f.name)}
    rate = f" at {recipe.lr:g}" if unlike & {"lr", "optimizer"} else ""
    schedule = "cosine" if recipe.schedule == "cosine" else "in steps"
    words = {
        "schedule": schedule,
        "weight_decay": f"weight decay {recipe.weight_decay:g}",
        "momentum": f"momentum {recipe.momentum:g}",
        "nesterov": "Nesterov",
        "mixup": f"mixup {recipe.mixup:g}",
    }
    marks = [OPTIMIZERS[recipe.optimizer] + rate]
    marks += [word for name, word in words.items() if name in unlike]
    images = recipe.batch_size * processes
    marks += [f"batches of {images:,}"] * (images != ours.batch_size)
    marks += ["batch norms frozen"] * settings.freeze_bn
    marks += [f"{settings.hold_back:,} images held back"] * bool(settings.hold_back)
    return ", ".join([*marks, *earlier])
