"""What only the networks themselves tell: time, spectra, and an account where none is recorded."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from tensorpress import artifacts
from tensorpress.errors import TensorpressError
from tensorpress.graphs import is_graph_file, read_graph_network
from tensorpress.layers.methods import METHODS, TrainDecomposition
from tensorpress.report.account import AccountRecord, count_account
from tensorpress.report.dense_layers import full_ranks
from tensorpress.report.material import Material
from tensorpress.report.spectra import LayerSpectra, read_spectra
from tensorpress.report.times import Times, measure
from tensorpress.rows import CalibrationImages
from tensorpress.surgery import count
from tensorpress.training import Network

Costs = tuple[tuple[int, int] | None, tuple[int, int] | None]
"""(params, MACs) of the dense network, and of the compressed one."""

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
class Findings:
    """What the networks tell; ``notes`` says what they did not, and why."""

    account: AccountRecord | None = None
    costs: Costs = (None, None)
    spectra: Mapping[str, LayerSpectra] = field(default_factory=dict)
    times: Times | None = None
    full_ranks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def examine(
    material: Material,
    network: Network,
    shape: tuple[int, ...],
    *,
    dtype: torch.dtype = torch.float32,
    batch: int,
    machine: str,
    timed: bool = True,
    calibration: CalibrationImages | None = None,
) -> Findings:
    """Build the networks of ``material`` and look at them; ``network`` builds the dense one.

    Its ``weights``, if it has any, are those that were compressed. ``machine`` says in words
    where this runs, and ``calibration`` are images by which int8 is timed, too.

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
    model = material.model_file
    small = None if model is None else _loaded(model, network)
    account = material.account
    if account is None and small is not None and material.layers:
        fits = {name: (layer.kept_energy, layer.relative_error) for name, layer in spectra.items()}
        account = count_account(dense, small, _inputs(1, shape, dtype), fits)
    times = None
    if timed:
        _inputs(batch, shape, dtype)
        times = measure(
            dense,
            small if account is not None else None,
            shape,
            dtype=dtype,
            batch=batch,
            machine=machine,
            calibration=calibration,
        )
        notes += [f"{name}: not timed: {why}" for name, why in times.missing.items()]
    costs = _costs(material, account, dense, _inputs(1, shape, dtype))
    full = full_ranks(dense, material.layers)
    return Findings(account, costs, spectra, times, full, tuple(notes))


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
    if material.is_calibrated:
        return spectra  # what is recorded is energy by another norm, that of what layers are fed
    for row in material.account.layers if material.account else ():
        found = spectra.get(row.name)
        if found is None or found.kept_energy is None or row.kept_energy is None:
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


def _loaded(model: Path, network: Network) -> nn.Module:
    """The compressed network."""
    if is_graph_file(model):
        return read_graph_network(model)
    return artifacts.load(model, into=network.build()).eval()


def _inputs(batch: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    if batch * math.prod(shape) > MOST_NUMBERS:
        raise TensorpressError(
            f"a batch of {batch} inputs of shape {'x'.join(map(str, shape))} is too large to try: "
            "give the right --input-shape, or a smaller --batch."
        )
    return torch.zeros(batch, *shape, dtype=dtype)


def _costs(
    material: Material, account: AccountRecord | None, dense: nn.Module, example: torch.Tensor
) -> Costs:
    if account is not None:
        return _costs_of(account)
    before, after = material.costs
    if before is None:
        cost = count(dense, example)
        before = (cost.params, cost.macs)
    return before, after


def _costs_of(account: AccountRecord) -> Costs:
    before = (account.params_before, account.macs_before)
    return before, (account.params_after, account.macs_after)
