"""A compressed network on its way into use: measured time, and export."""

from tensorpress.deploy.benchmark import Benchmark, Cell, benchmark
from tensorpress.deploy.export import export
from tensorpress.deploy.export_report import ExportReport
from tensorpress.deploy.exportable import find_format, read_exportable
from tensorpress.deploy.foresee import ExportProspect, foresee_export
from tensorpress.deploy.formats import FORMATS
from tensorpress.deploy.latency import interleaved_seconds
from tensorpress.deploy.planning.plan import Plan, plan
from tensorpress.deploy.planning.table import PlanRow, PlanTable
from tensorpress.deploy.runtimes import RUNTIMES

__all__ = [
    "FORMATS",
    "RUNTIMES",
    "Benchmark",
    "Cell",
    "ExportProspect",
    "ExportReport",
    "Plan",
    "PlanRow",
    "PlanTable",
    "benchmark",
    "export",
    "find_format",
    "foresee_export",
    "interleaved_seconds",
    "plan",
    "read_exportable",
]
