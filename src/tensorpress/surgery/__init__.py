"""A network's layers surveyed, counted and replaced."""

from tensorpress.surgery.account import Account, LayerRow, describe_kernel
from tensorpress.surgery.count import Cost, LayerCost, count
from tensorpress.surgery.inputs import ExampleInputs, evaluating, refuse_unready, run_examples
from tensorpress.surgery.replace import copy_with, replace_layers
from tensorpress.surgery.select import Selector, keep_reasons, match_patterns
from tensorpress.surgery.survey import Survey, SurveyedLayer, survey

__all__ = [
    "Account",
    "Cost",
    "ExampleInputs",
    "LayerCost",
    "LayerRow",
    "Selector",
    "Survey",
    "SurveyedLayer",
    "copy_with",
    "count",
    "describe_kernel",
    "evaluating",
    "keep_reasons",
    "match_patterns",
    "refuse_unready",
    "replace_layers",
    "run_examples",
    "survey",
]
