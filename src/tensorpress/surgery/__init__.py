"""A network's layers surveyed, counted and replaced."""

from tensorpress.surgery.account import Account, LayerRow, describe_kernel, tally
from tensorpress.surgery.count import Cost, LayerCost, count
from tensorpress.surgery.damaged import is_damaged, refuse_damaged, refuse_without_values
from tensorpress.surgery.history import history_of, ratio, ratios, remember
from tensorpress.surgery.inputs import (
    ExampleInputs,
    answers,
    call,
    evaluating,
    input_shape,
    not_running,
    refuse_unready,
    run_examples,
    tensor_leaves,
)
from tensorpress.surgery.measured_time import MeasuredTime
from tensorpress.surgery.memory_format import (
    arrange_channels_last,
    arrange_for_training,
    arrange_kernels,
    runs_in_channels_last,
    trains_in_channels_last,
)
from tensorpress.surgery.precision import Precision
from tensorpress.surgery.quality import Quality
from tensorpress.surgery.replace import copy_with, fold_parametrizations, replace_layers
from tensorpress.surgery.select import (
    Selector,
    keep_reasons,
    list_selectors,
    match_patterns,
    show_selectors,
)
from tensorpress.surgery.survey import Survey, SurveyedLayer, survey

__all__ = [
    "Account",
    "Cost",
    "ExampleInputs",
    "LayerCost",
    "LayerRow",
    "MeasuredTime",
    "Precision",
    "Quality",
    "Selector",
    "Survey",
    "SurveyedLayer",
    "answers",
    "arrange_channels_last",
    "arrange_for_training",
    "arrange_kernels",
    "call",
    "copy_with",
    "count",
    "describe_kernel",
    "evaluating",
    "fold_parametrizations",
    "history_of",
    "input_shape",
    "is_damaged",
    "keep_reasons",
    "list_selectors",
    "match_patterns",
    "not_running",
    "ratio",
    "ratios",
    "refuse_damaged",
    "refuse_unready",
    "refuse_without_values",
    "remember",
    "replace_layers",
    "run_examples",
    "runs_in_channels_last",
    "show_selectors",
    "survey",
    "tally",
    "tensor_leaves",
    "trains_in_channels_last",
]
