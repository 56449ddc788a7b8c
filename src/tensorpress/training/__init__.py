"""Train, compress and fine-tune: recipes as data, a fast loop, and runs that resume bit for bit."""

from tensorpress.training.apart import AccuracyApart
from tensorpress.training.compression import MOST_TO_JUDGE, compress_for
from tensorpress.training.distil import Distillation, Teacher, distillation_loss, label_loss
from tensorpress.training.evaluate import Accuracy, evaluate
from tensorpress.training.foresee import Ahead, RunProspect
from tensorpress.training.loop import EpochResult, Trainer, fit
from tensorpress.training.network import Network
from tensorpress.training.phase import accuracy_facts
from tensorpress.training.place import Place, find_place
from tensorpress.training.recipes import PAPER, SHORT, Recipe, Recipes, recipes_for
from tensorpress.training.run_settings import Settings
from tensorpress.training.scheme import finetune, run_scheme, train
from tensorpress.training.session import Outcome
from tensorpress.training.stages import TUNED_FOR, epochs_before

__all__ = [
    "MOST_TO_JUDGE",
    "PAPER",
    "SHORT",
    "TUNED_FOR",
    "Accuracy",
    "AccuracyApart",
    "Ahead",
    "Distillation",
    "EpochResult",
    "Network",
    "Outcome",
    "Place",
    "Recipe",
    "Recipes",
    "RunProspect",
    "Settings",
    "Teacher",
    "Trainer",
    "accuracy_facts",
    "compress_for",
    "distillation_loss",
    "epochs_before",
    "evaluate",
    "find_place",
    "finetune",
    "fit",
    "label_loss",
    "recipes_for",
    "run_scheme",
    "train",
]
