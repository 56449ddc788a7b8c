"""The paper's tables, as printed and as measured."""

from tensorpress.experiments.paper import PaperRow, PaperTable, paper_table
from tensorpress.experiments.reproduce import TableRun, foresee_table, reproduce
from tensorpress.experiments.results import (
    Result,
    read_results,
    result_in,
    result_of,
    write_results,
)
from tensorpress.experiments.results_page import markdown
from tensorpress.experiments.wording import method_of, recipe_of

__all__ = [
    "PaperRow",
    "PaperTable",
    "Result",
    "TableRun",
    "foresee_table",
    "markdown",
    "method_of",
    "paper_table",
    "read_results",
    "recipe_of",
    "reproduce",
    "result_in",
    "result_of",
    "write_results",
]
