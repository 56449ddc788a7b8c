"""A survey and a budget in, a rank rule per layer out."""

from tensorpress.allocate.budget import Budget
from tensorpress.allocate.candidate import Candidate, Choice, choice_of, fit_layer
from tensorpress.allocate.threshold import fit_budget

__all__ = ["Budget", "Candidate", "Choice", "choice_of", "fit_budget", "fit_layer"]
