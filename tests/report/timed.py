"""A benchmark's cell with given times."""

from tensorpress.deploy import Cell, PlanTable
from tensorpress.deploy.execution import Execution
from tensorpress.deploy.latency import Spread
from tensorpress.deploy.planning.table import PlanRow

DENSE, STORED = Execution((4,)), Execution((1, 1, 1, 1))


def cell(
    dense: float, stored: float, planned: float, *, precision: str = "f32", own: float | None = None
) -> Cell:
    """Of a network of one decomposed layer, "2", at a batch of 8; times are in seconds."""
    given = {"own": own or dense, "dense": dense, "stored": stored, "planned": planned}
    spreads = {name: Spread(t, t, t, t) for name, t in given.items()}
    row = PlanRow("2", "Conv2d 16x12x3x3", (3, 4, 5), DENSE, {DENSE: planned, STORED: stored})
    table = PlanTable((row,), {}, {})
    runtime = "torch" if precision == "f32" else "onnxruntime"
    return Cell(
        runtime=runtime,
        version="1.0",
        batch=8,
        threads=1,
        precision=precision,
        **spreads,
        rounds=9,
        dense_bytes=None,
        planned_bytes=None,
        table=table,
    )
