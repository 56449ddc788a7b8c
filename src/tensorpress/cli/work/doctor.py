"""``tensorpress doctor``."""

from collections.abc import Iterator
from dataclasses import asdict

from tensorpress.aligned import ruled
from tensorpress.cli.printer import Printer
from tensorpress.deploy.doctor import Facts, facts
from tensorpress.networks.libraries import LIBRARIES


def doctor(*, printer: Printer) -> None:
    found = facts(tuple(LIBRARIES))
    printer.result("\n".join(_lines(found)))
    printer.values(asdict(found))


def _lines(found: Facts) -> Iterator[str]:
    yield f"tensorpress {found.tensorpress}, Python {found.python}, torch {found.torch}"
    yield f"processor: {found.processor}"
    yield f"cores: {found.cores}, of which PyTorch uses {found.threads} threads"
    yield f"memory: {'unknown' if found.memory is None else f'{found.memory / 2**30:.1f} GiB'}"
    yield f"GPU: {found.gpu or 'none that PyTorch sees'}"
    yield f"bfloat16 on the processor: {'yes' if found.bf16 else 'no'}"
    yield f"training, unless told otherwise: on {found.trains_on}"
    yield f"int8: {', '.join(found.int8) or 'in no runtime that is here'}"
    yield ""
    rows = [
        (r.name, r.version or "-", r.own_precision or "-", ", ".join(r.precisions) or "-")
        for r in found.runtimes
    ]
    yield from ruled(("runtime", "version", "by itself in", "computes in"), rows, right=())
    yield from (r.reason for r in found.runtimes if r.reason)
    yield ""
    held = [(p.name, p.version or f"not installed: {p.install}") for p in found.packages]
    yield from ruled(("package", "version"), held, right=())
    if found.install:
        yield ""
        yield "For more:"
        yield from found.install
