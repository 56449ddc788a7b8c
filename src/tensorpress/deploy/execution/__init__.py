"""How the sublayers of a factorized layer can be executed without changing what they compute."""

from tensorpress.deploy.execution.codebooks import write_out_codebooks
from tensorpress.deploy.execution.executions import (
    Execution,
    executions_of,
    factorized_layers,
    realise,
    without_dominated,
    work_of,
)
from tensorpress.deploy.execution.fold import fold_batch_norms, foldable_norms
from tensorpress.deploy.execution.module_graph import ModuleGraph, trace_modules
from tensorpress.deploy.execution.path_guard import PathGuard

__all__ = [
    "Execution",
    "ModuleGraph",
    "PathGuard",
    "executions_of",
    "factorized_layers",
    "fold_batch_norms",
    "foldable_norms",
    "realise",
    "trace_modules",
    "without_dominated",
    "work_of",
    "write_out_codebooks",
]
