"""What was measured and exported for plans, kept for the next time.

Measured tables belong to a structure, a setting and a machine, and hold for any weights; graphs
belong to the weights, too. Damaged or missing entries are measured or made anew.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from tensorpress.deploy.execution import ModuleGraph, trace_modules
from tensorpress.deploy.feed import Feed
from tensorpress.deploy.planning.table import PlanTable
from tensorpress.errors import TensorpressError
from tensorpress.extras import import_runtimes
from tensorpress.files import cache_folder, write_whole
from tensorpress.version import VERSION

FOLDER_VARIABLE = "TENSORPRESS_CACHE"
MOST_BYTES_OF_GRAPHS = 500_000_000
REGISTERED = ("_parameters", "_buffers", "_modules")
WAYS = b"4"
"""To be raised when layers come to be executed in other ways, so that nothing older is taken."""


class PlanCache:
    """A folder of ``tables/KEY.json``, to be read by people too, and ``graphs/KEY.onnx``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def table(self, key: str) -> PlanTable | None:
        """The table that was measured under this key."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            return PlanTable.from_dict(json.loads(self._table(key).read_text()))
        return None

    def keep_table(self, key: str, table: PlanTable) -> None:
        """Keep a table; where the folder cannot be written, it is not kept."""
        with contextlib.suppress(TensorpressError):
            write_whole(self._table(key), json.dumps(table.to_dict(), indent=1) + "\n")

    def graph(self, key: str) -> bytes | None:
        """The serialised graph that was kept under this key."""
        with contextlib.suppress(OSError):
            path = self._graph(key)
            content = path.read_bytes()
            os.utime(path)
            digest, _, graph = content.partition(b"\n")
            if hashlib.sha256(graph).hexdigest().encode() == digest:
                return graph
        return None

    def keep_graph(self, key: str, graph: bytes) -> None:
        """Keep a graph; the ones used longest ago make room for it."""
        digest = hashlib.sha256(graph).hexdigest().encode()
        with contextlib.suppress(TensorpressError, OSError):
            write_whole(self._graph(key), digest + b"\n" + graph)
            files = sorted(self._graph(key).parent.glob("*.onnx"), key=lambda f: f.stat().st_mtime)
            sizes = [file.stat().st_size for file in files]
            while len(files) > 1 and sum(sizes) > MOST_BYTES_OF_GRAPHS:
                files.pop(0).unlink()
                sizes.pop(0)

    def _table(self, key: str) -> Path:
        return self.folder / "tables" / f"{key}.json"

    def _graph(self, key: str) -> Path:
        return self.folder / "graphs" / f"{key}.onnx"


def default_folder() -> Path:
    """The folder in ``TENSORPRESS_CACHE``, else ``plans`` in the user's cache."""
    return cache_folder(FOLDER_VARIABLE, "plans")


def structure_of(net: nn.Module, feed: Feed, traced: ModuleGraph | None) -> str:
    """How a network, traced so, is built and fed, without its weights."""
    shapes = [(tuple(t.shape), str(t.dtype)) for t in feed.tensors]
    parameters = [(name, tuple(p.shape)) for name, p in net.named_parameters()]
    return (
        f"{net!r}\n{traced and traced.graph}\n{parameters}\n{shapes}\n{feed.names}\n{feed.batched}"
    )


def table_key(structure: str, setting: Mapping[str, Any]) -> str:
    """Of the table of a structure measured in a setting."""
    return _digest(WAYS, structure.encode(), json.dumps(setting, sort_keys=True).encode())


def graph_key(net: nn.Module, feed: Feed) -> str | None:
    """Of the graph, for any batch size, of a network with all that it computes with.

    None for one whose own code cannot be traced, and so may have changed unseen.
    """
    traces = [trace_modules(net, feed.resized(batch)) for batch in (1, 3)]
    if any(trace is None for trace in traces):
        return None
    parts = [structure_of(net, feed.resized(1), trace) for trace in traces]
    parts += [torch.__version__, VERSION, *_versions()]
    tensors: list[tuple[str, Tensor]] = [*net.named_parameters(), *net.named_buffers()]
    for name, module in net.named_modules():
        # A module's description leaves out some of its options, such as ceil_mode of a pooling.
        parts += [name, type(module).__qualname__]
        for key, value in vars(module).items():
            if key in REGISTERED:
                continue
            leaves, form = tree_flatten(value)
            held = [torch.as_tensor(leaf) for leaf in leaves if _holds_numbers(leaf)]
            tensors += [(f"{name}.{key}", tensor) for tensor in held]
            if key[0] != "_":
                parts.append(f"{key}={form}{[v for v in leaves if not _holds_numbers(v)]}")
    parts += [f"{name} {tensor.dtype} {tuple(tensor.shape)}" for name, tensor in tensors]
    return _digest(WAYS, *(part.encode() for part in parts), *(_bytes(t) for _, t in tensors))


def _holds_numbers(value: object) -> bool:
    """Whether it is a tensor or an array, whose text leaves out most of its numbers."""
    return isinstance(value, Tensor) or (
        isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
    )


def _versions() -> list[str]:
    """Of what writes graphs."""
    modules = import_runtimes("onnx", ("onnx", "onnxscript", "onnx_ir"))
    return [str(module.__version__) for module in modules.values()]


def _bytes(tensor: Tensor) -> bytes:
    """Of any dtype, also of those that NumPy has not."""
    plain = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()
    return plain.reshape(-1).view(torch.uint8).numpy().tobytes()


def _digest(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:32]
