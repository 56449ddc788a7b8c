"""How a processor is named in measurements, and in the plans that are kept for it."""

from pathlib import Path

import pytest

from tensorpress.deploy.runtimes import processor as module

AMD = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse avx2 avx512f avx512_vnni\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd asimddp bf16\n"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (AMD, "AMD EPYC (AVX2, AVX-512, VNNI)"),
        (AMD.replace(" avx512f avx512_vnni", " avx_vnni"), "AMD EPYC (AVX2, VNNI)"),
        ("model name : Old\nflags : fpu\n", "Old"),
        (ARM, "aarch64 (dot products, bfloat16)"),
    ],
)
def test_it_says_what_decides_how_fast_networks_are(
    text: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda _: text)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert module.processor.__wrapped__() == name
