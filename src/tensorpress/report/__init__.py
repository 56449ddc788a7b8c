"""A run as one page that a person can read."""

from tensorpress.report.findings import Findings, examine, known_without_networks
from tensorpress.report.material import Material, read_material
from tensorpress.report.page import build_page
from tensorpress.report.write import refuse_others, refuse_unknown, write_report

__all__ = [
    "Findings",
    "Material",
    "build_page",
    "examine",
    "known_without_networks",
    "read_material",
    "refuse_others",
    "refuse_unknown",
    "write_report",
]
