"""How long a compression with images will take, before it starts."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from tensorpress.compression.calibration import outputs
from tensorpress.compression.calibration.distil import HELD_BACK
from tensorpress.compression.calibration.moments import EACH, TO_COMPARE, are_kept, samples
from tensorpress.compression.calibration.sensitivity import MEASURED
from tensorpress.compression.calibration.statistics import SETTLED_ON
from tensorpress.progress import duration
from tensorpress.request import Recovery
from tensorpress.rows import Rows

WORTH_TELLING = 60.0
"""Seconds from which on an estimate is given."""
MEASURE_FOR, MOST_PASSES = 2.0, 3
"""Passes are measured until so many seconds are over, and the fastest counts."""
SIDE, PRODUCTS_TRIED = 768, 4
"""Of a matrix product that is measured."""

ON_BATCH_STATISTICS = 2.0
"""Passes that one with batch norms on the batch's own statistics is worth."""
STEP, TEACHER = 5.0, 1.0
"""Passes that an image of a step of training is worth, there and back, and its teacher's."""
PRODUCTS = 1.3
"""Multiply-accumulates for each product of two values of a patch, with taking the patches."""
FITTING = 8.0
"""Multiply-accumulates for each P^3 of a layer with patches of P values: its eigenvectors."""
COMPARING = 2e3
"""Multiply-accumulates for each P^2 of a layer and each form whose options are compared."""
SEARCHING, MOST_SEARCHED = 1500.0, 1e11
"""For each P^3, and at most, for both searches for a layer's sums of terms, likewise."""
SMALLEST_SHARE = 0.05
"""Stages of a smaller share of the whole are not named."""


@dataclass(frozen=True)
class Work:
    """What there is to do, in counts.

    Attributes:
        images: that calibration is given.
        measured_on, fitted_on: of them, for the losses of layers and to fit layers.
        patches: values in a patch of each layer that is to be treated.
        places: patches of each of these layers that an image has.
        macs: multiply-accumulates that take as long as a pass of an image: those of the network, or
            more, if matrix products are faster than it is.
        recovery: which steps are taken.
        measures: whether layers' losses are measured.
        forms: treatments that are compared for a layer, at most.
        networks: how many are made in the end.
        tries: how many are made on the way, in closed form.
        has_norms: whether there are batch norms to take statistics of.
    """

    images: int
    measured_on: int
    fitted_on: int
    patches: tuple[int, ...]
    places: tuple[int, ...]
    macs: int
    recovery: Recovery
    measures: bool
    forms: int = 1
    networks: int = 1
    tries: int = 0
    has_norms: bool = True


def stage_seconds(work: Work, image_seconds: float) -> dict[str, float]:
    """The seconds of each stage, by its name.

    All of it is told in passes of an image through the network, which take ``image_seconds`` each;
    what is no pass is counted in MACs, of which ``macs`` take as long as a pass. With L layers, N
    images, N_m to measure and N_f to fit on, n = ``samples(P)`` patches of a layer, or all that
    there are, b = ``ON_BATCH_STATISTICS``, products p = ``PRODUCTS`` sum(n P^2) / MACs and fits
    f = ``FITTING`` sum(P^3) / MACs:

    - looking at what layers are fed: N_f + p, of fewer patches if layers are reconstructed
    - measuring layers: F sum(``COMPARING`` P^2) / MACs + b N_m (2 + ``MEASURED`` L / 2), as a layer
      stands half way; of F > 1 forms also sum(``SEARCHING`` P^3), bounded layer by layer, / MACs
    - reconstructing: N_f + b N_f + p + f
    - batch-norm statistics, where there are any: b N, and 3 passes of a batch
    - distilling: (``STEP`` + ``TEACHER``) epochs 0.9 N, at the first learning rate

    Of layers whose patches are kept, p is 0, n P stands for P^2 and n^2 P for P^3. The constants
    are of convolutional networks on a processor. Methods that decompose by iterations, such as CP,
    take longer than f, and choices that leave them out take less.
    """
    recovery, layers, fitted = work.recovery, len(work.patches), work.fitted_on
    each = TO_COMPARE if recovery.reconstruct else EACH
    looked, products = (
        PRODUCTS
        * sum(n * size**2 for size, n in _taken(work, count) if not are_kept(n, size))
        / work.macs
        for count in (each, EACH)
    )
    fits = FITTING * sum(_power(size, n, 3) for size, n in _taken(work, EACH)) / work.macs
    made = work.networks + work.tries
    passes: dict[str, float] = {}
    if recovery.data_aware:
        passes["looking at what layers are fed"] = fitted + looked
    if work.measures:
        runs = 2 + MEASURED * layers / 2
        taken = _taken(work, each)
        searches = sum(min(SEARCHING * _power(size, n, 3), MOST_SEARCHED) for size, n in taken)
        compared = work.forms * COMPARING * sum(_power(size, n, 2) for size, n in taken)
        options = (compared + (work.forms > 1) * searches) / work.macs
        passes["measuring layers"] = options + ON_BATCH_STATISTICS * work.measured_on * runs
    if recovery.reconstruct:
        walked = (1 + ON_BATCH_STATISTICS) * fitted
        passes["reconstructing"] = made * (walked + products + fits)
    if recovery.statistics and work.has_norms:
        passes["batch-norm statistics"] = made * (
            ON_BATCH_STATISTICS * work.images + 3 * min(work.images, SETTLED_ON)
        )
    if recovery.distil_epochs:
        used = (1 - HELD_BACK) * work.images
        passes_each = recovery.distil_epochs * training_passes(taught=True)
        passes["distilling"] = work.networks * passes_each * used
    return {stage: count * image_seconds for stage, count in passes.items()}


def _taken(work: Work, each: int) -> list[tuple[int, int]]:
    """The values of a patch of each layer, and how many patches are taken."""
    layers = zip(work.patches, work.places, strict=True)
    return [(size, min(samples(size, each), n * work.fitted_on)) for size, n in layers]


def _power(size: int, count: int, exponent: int) -> int:
    """``P^exponent`` for moments that are a matrix; of patches (n, P) that are kept, as told."""
    power: int = (count if are_kept(count, size) else size) ** (exponent - 1) * size
    return power


def training_passes(*, taught: bool) -> float:
    """Passes that an image of a step of training is worth, from a teacher or from labels alone."""
    return STEP + (TEACHER if taught else 0.0)


def estimate(work: Work, image_seconds: float) -> str | None:
    """A line that tells how long it will take; None for less than a minute."""
    stages = stage_seconds(work, image_seconds)
    whole = sum(stages.values())
    if whole < WORTH_TELLING:
        return None
    layers = f"{len(work.patches)} layer{'s' * (len(work.patches) > 1)}"
    return f"about {roughly(whole)} for {layers} and {work.images:,} images{named_shares(stages)}"


def named_shares(stages: Mapping[str, float]) -> str:
    """The seconds of each stage that counts, to stand behind those of the whole; "" of one."""
    if len(stages) == 1:
        return ""
    whole = sum(stages.values())
    named = ", ".join(
        f"{stage} {roughly(seconds)}"
        for stage, seconds in stages.items()
        if seconds >= SMALLEST_SHARE * whole
    )
    return f": {named}"


def roughly(seconds: float) -> str:
    """As :func:`duration`, to ten seconds, and to a minute from five on."""
    unit = 60 if seconds >= 300 else 10
    return duration(max(unit * round(seconds / unit), unit))


def macs_a_second() -> float:
    """The measured rate of a matrix product in float32, of this thread's threads."""
    matrix = torch.ones(SIDE, SIDE)
    taken = []
    for _ in range(PRODUCTS_TRIED):
        start = time.perf_counter()
        torch.mm(matrix, matrix)
        taken.append(time.perf_counter() - start)
    return SIDE**3 / min(taken)


def image_seconds(net: nn.Module, part: Rows) -> float:
    """Measured seconds of a forward pass, for one image of the batch ``part``.

    The first pass may have much to set up, and others may keep the machine busy for a moment.

    Raises:
        TensorpressError: as :func:`tensorpress.compression.calibration.outputs`.
    """
    taken: list[float] = []
    while sum(taken) < MEASURE_FOR and len(taken) < MOST_PASSES:
        start = time.perf_counter()
        outputs(net, [part])
        taken.append(time.perf_counter() - start)
    return min(taken) / len(part)
