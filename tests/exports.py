"""What exports are held to, on any processor."""

from tensorpress.deploy import ExportReport


def worst_in_f32(report: ExportReport) -> float:
    """The largest difference of the checks in float32: some runtimes compute in less by themselves
    where the processor does, and a file is run in that, too."""
    return max(check.difference for check in report.checks if check.precision == "f32")
