"""The paper's tables, as printed and as measured."""

from tensorpress.experiments.paper import PaperRow, PaperTable, paper_table
from tensorpress.experiments.reproduce import Plan, reproduce
from tensorpress.experiments.results import Result, read_results

__all__ = [
    "PaperRow",
    "PaperTable",
    "Plan",
    "Result",
    "paper_table",
    "read_results",
    "reproduce",
]
