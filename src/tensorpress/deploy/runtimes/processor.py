"""What a measurement was taken on, and what it can compute in."""

import contextlib
import os
import platform
import re
from functools import cache
from pathlib import Path

import torch

X86 = ("x86_64", "amd64")
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI",
    "avx512_vnni": "VNNI",
    "avx512_bf16": "bfloat16",
    "amx_int8": "AMX",
    "asimddp": "dot products",
    "i8mm": "int8 matrices",
    "bf16": "bfloat16",
}
"""What decides how fast networks are, by the names that Linux has for it."""


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
    """The name of the processor, as the system gives it, and what it has for networks.

    Hosts give processors of several kinds one name: "AMD EPYC (AVX2, AVX-512, VNNI, bfloat16)".
    """
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text()
        name = re.search(r"^model name\s*:\s*(.+)$", text, re.M)
        flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M)
        held = set(flags.group(1).split()) if flags else set()
        has = dict.fromkeys(shown for flag, shown in FEATURES.items() if flag in held)
        found = name.group(1) if name else platform.machine()
        return f"{found} ({', '.join(has)})" if has else found
    return platform.processor() or platform.machine()


def computes_in_bf16() -> bool:
    """Whether the processor has instructions for bfloat16; oneDNN emulates them elsewhere, slowly.

    oneDNN takes bfloat16 on any x86 processor with AVX-512, so that is asked for separately.
    """
    supported: bool = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if platform.machine().lower() in X86:
        supported = supported and torch.cpu._is_avx512_bf16_supported()
    return supported
