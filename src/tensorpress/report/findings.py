"""What only the networks themselves tell: time, spectra, and an account where none is recorded."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn

from tensorpress import artifacts
from tensorpress.deploy import interleaved_seconds
from tensorpress.deploy.latency import interleaved_times
from tensorpress.errors import TensorpressError, first_line
from tensorpress.graphs import GraphNetwork, is_graph_file, read_graph_network
from tensorpress.graphs.sessions import open_file
from tensorpress.layers.methods import METHODS, TrainDecomposition
from tensorpress.report.account import AccountRecord, count_account
from tensorpress.report.material import Material
from tensorpress.report.spectra import LayerSpectra, read_spectra
from tensorpress.surgery import count, run_examples
from tensorpress.training import Network

Costs = tuple[tuple[int, int] | None, tuple[int, int] | None]
"""(params, MACs) of the dense network, and of the compressed one."""

ROUNDS = 15
MOST_NUMBERS = 2**28
SAME_ENERGY = 5e-4
"""How far kept energy may be from the recorded one: weights kept in bfloat16 move it by 2e-4."""
SEARCHED_ENERGY = 2e-2
"""Likewise, of methods that search, which end elsewhere in another run."""

NO_NETWORK = "The network was not built, so nothing was measured and there are no spectra."
NO_WEIGHTS = (
    "The spectra need the weights that were compressed, and no file here holds them: give them "
    "with --weights FILE."
)


@dataclass(frozen=True)
class Timing:
    """Median seconds of a forward pass of a batch, taken in turns, on the CPU.

    ``after`` is None where there is no compressed network, and ``executed`` says by what.
    """

    before: float
    after: float | None
    batch: int
    machine: str
    rounds: int = ROUNDS
    executed: str = "eager"


@dataclass(frozen=True)
class Findings:
    """What the networks tell; ``notes`` says what they did not, and why."""

    account: AccountRecord | None = None
    costs: Costs = (None, None)
    spectra: Mapping[str, LayerSpectra] = field(default_factory=dict)
    timing: Timing | None = None
    notes: tuple[str, ...] = ()


def examine(
    material: Material,
    network: Network,
    shape: tuple[int, ...],
    *,
    batch: int,
    machine: str,
    timed: bool = True,
) -> Findings:
    """Build the networks of ``material`` and look at them; ``network`` builds the dense one.

    Its ``weights``, if it has any, are those that were compressed. ``machine`` says in words
    where this runs.

    Raises:
        TensorpressError: the network does not fit the files, or does not run on inputs of
            ``shape``.
    """
    notes = list(material.said)
    dense = network.make(seed=0).eval()
    spectra: Mapping[str, LayerSpectra] = {}
    if material.layers and network.is_trained:
        spectra = _spectra(material, dense, network.weights, notes)
    elif material.layers:
        notes.append(NO_WEIGHTS)
    model, small = material.model_file, None
    if model is not None:
        small = _loaded(model, network)
    is_compressed = small is not None and bool(material.layers)
    account = material.account
    if account is None and small is not None and is_compressed:
        fits = {name: (layer.kept_energy, layer.relative_error) for name, layer in spectra.items()}
        account = count_account(dense, small, _inputs(1, shape), fits)
    timing = None
    if timed and isinstance(dense, GraphNetwork) and model is not None:
        batch = dense.structure.batch or batch
        timing = _time_of_files(dense, (Path(network.name), model), shape, batch, machine)
    elif timed:
        timing = _time(dense, small if is_compressed else None, shape, batch, machine)
    costs = _costs(material, account, dense, shape)
    return Findings(account, costs, spectra, timing, tuple(notes))


def known_without_networks(material: Material, *notes: str) -> Findings:
    """What is left where the networks cannot be built; ``notes`` say why."""
    account, costs = material.account, material.costs
    if account is not None:
        costs = _costs_of(account)
    return Findings(account, costs, notes=(*material.said, NO_NETWORK, *notes))


def _spectra(
    material: Material, dense: nn.Module, weights: Path | None, notes: list[str]
) -> Mapping[str, LayerSpectra]:
    if material.account and material.account.originally:
        notes.append(
            "Layers that were compressed more than once have no spectra: the kernels that the last "
            "compression began with are not kept."
        )
        return {}
    held = material.model_file
    narrow = {} if held is None or is_graph_file(held) else artifacts.read_manifest(held).widths
    entries = {name: entry for name, entry in material.layers.items() if name not in narrow}
    if len(entries) < len(material.layers):
        notes.append("Layers that were pruned too have no spectra: their kernels are not kept.")
    spectra = read_spectra(dense, entries, material.request)
    if material.request is not None and material.request.calibration is not None:
        return spectra  # what is recorded is energy by another norm, that of what layers are fed
    for row in material.account.layers if material.account else ():
        found = spectra.get(row.name)
        if found is None or row.kept_energy is None:
            continue
        closed = isinstance(METHODS.get(entries[row.name].method), TrainDecomposition)
        if abs(found.kept_energy - row.kept_energy) > (SAME_ENERGY if closed else SEARCHED_ENERGY):
            wrong = (
                f"{weights or 'the network as it is built'} is not what was compressed: at these "
                f"ranks layer '{row.name}' keeps {found.kept_energy:.4f} of its energy, and "
                f"{row.kept_energy:.4f} is recorded"
            )
            if weights is not None:
                raise TensorpressError(f"{wrong}. Give the weights that were compressed.")
            notes.append(f"No spectra are shown: {wrong}. {NO_WEIGHTS}")
            return {}
    return spectra


def _time(
    dense: nn.Module, small: nn.Module | None, shape: tuple[int, ...], batch: int, machine: str
) -> Timing:
    nets = [dense] if small is None else [dense, small]
    for net in nets:  # a network that does not run is refused in words
        count(net, _inputs(1, shape))
        run_examples(net, _inputs(min(batch, 2), shape))
    try:
        seconds = interleaved_seconds(nets, _inputs(batch, shape), rounds=ROUNDS)
    except (RuntimeError, MemoryError) as error:
        raise TensorpressError(
            f"the network runs on one input, but not on a batch of {batch} ({first_line(error)}): "
            "give a smaller --batch."
        ) from error
    return Timing(seconds[0], seconds[1] if len(seconds) > 1 else None, batch, machine)


def _loaded(model: Path, network: Network) -> nn.Module:
    """The compressed network."""
    if is_graph_file(model):
        return read_graph_network(model)
    return artifacts.load(model, into=network.build()).eval()


def _time_of_files(
    dense: GraphNetwork, paths: Sequence[Path], shape: tuple[int, ...], batch: int, machine: str
) -> Timing:
    """The same of files of ONNX, run by ONNX Runtime alone."""
    count(dense, _inputs(batch, shape))
    (fed,) = dense.fed([_inputs(batch, shape)])
    calls = []
    for path in paths:
        session = open_file(path)
        calls.append(partial(session.run, None, {session.get_inputs()[0].name: fed.numpy()}))
    before, after = (statistics.median(times) for times in interleaved_times(calls, ROUNDS))
    return Timing(before, after, batch, machine, executed="in ONNX Runtime")


def _inputs(batch: int, shape: tuple[int, ...]) -> torch.Tensor:
    if batch * math.prod(shape) > MOST_NUMBERS:
        raise TensorpressError(
            f"a batch of {batch} inputs of shape {'x'.join(map(str, shape))} is too large to try: "
            "give the right --input-shape, or a smaller --batch."
        )
    return torch.zeros(batch, *shape)


def _costs(
    material: Material, account: AccountRecord | None, dense: nn.Module, shape: tuple[int, ...]
) -> Costs:
    if account is not None:
        return _costs_of(account)
    before, after = material.costs
    if before is None:
        cost = count(dense, _inputs(1, shape))
        before = (cost.params, cost.macs)
    return before, after


def _costs_of(account: AccountRecord) -> Costs:
    before = (account.params_before, account.macs_before)
    return before, (account.params_after, account.macs_after)
