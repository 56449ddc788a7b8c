"""PyTorch's own exported programs, for ``torch.export.load``."""

import io
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from tensorpress.deploy.feed import Feed
from tensorpress.deploy.formats.format import Format, Run
from tensorpress.surgery import tensor_leaves


def _prepare() -> dict[str, str]:
    return {"torch": torch.__version__}


def _write(program: ExportedProgram, path: Path) -> None:
    content = io.BytesIO()
    torch.export.save(program, content)
    path.write_bytes(content.getbuffer())  # by itself it aborts the process on a full disk


def _read(path: Path) -> Run:
    module = torch.export.load(path).module()

    def run(feed: Feed) -> list[Tensor]:
        with torch.no_grad():
            return tensor_leaves(module(*feed.args, **feed.kwargs))

    return run


PT2 = Format("pt2", ".pt2", False, _prepare, _write, _read, _read, "torch", False)
