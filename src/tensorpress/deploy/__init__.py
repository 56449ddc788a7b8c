"""A compressed network on its way into use: measured time, and export."""

from tensorpress.deploy.export import export, find_format
from tensorpress.deploy.export_report import ExportReport
from tensorpress.deploy.formats import FORMATS
from tensorpress.deploy.latency import interleaved_seconds

__all__ = ["FORMATS", "ExportReport", "export", "find_format", "interleaved_seconds"]
