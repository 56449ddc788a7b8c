"""What a measurement was taken on, and what it can compute in."""

import contextlib
import os
import platform
import re
from functools import cache
from pathlib import Path

import torch

X86 = ("x86_64", "amd64")


def machine(device: str) -> str:
    """The machine in words: processor or GPU, threads, versions."""
    where = (
        torch.cuda.get_device_name()
        if device == "cuda"
        else f"{processor()}, {torch.get_num_threads()} of {os.cpu_count()} threads"
    )
    return f"{where}, torch {torch.__version__}, Python {platform.python_version()}"


@cache
def processor() -> str:
    """The name of the processor, as the system gives it."""
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
        if found:
            return found.group(1)
    return platform.processor() or platform.machine()


def computes_in_bf16() -> bool:
    """Whether the processor has instructions for bfloat16; oneDNN emulates them elsewhere, slowly.

    oneDNN takes bfloat16 on any x86 processor with AVX-512, so that is asked for separately.
    """
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if platform.machine().lower() in X86:
        supported = supported and torch.cpu._is_avx512_bf16_supported()
    return supported
