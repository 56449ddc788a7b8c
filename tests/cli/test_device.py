"""--device says where images go through networks. No GPU is needed: a stand-in takes its place."""

from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from torch import nn

from tensorpress.training import Place

ELSEWHERE = torch.device("meta")
OWN = ("--net", "my_nets.own:make")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str | None]:
    """What was asked for; every device that is named is the one elsewhere."""
    names: list[str | None] = []

    def find(device: str | None = None) -> Place:
        names.append(device)
        return Place(torch.device("cpu") if device is None else ELSEWHERE)

    for module in ("cli.work.compress", "cli.work.explore", "training"):
        monkeypatch.setattr(f"tensorpress.{module}.find_place", find)
    return names


class Seen(KeyboardInterrupt):
    """Stands for a person who has seen enough."""


@pytest.mark.parametrize("command", ["compress", "explore"])
@pytest.mark.parametrize("device", [None, "cuda"])
def test_network_and_example_are_there(
    command: str,
    device: str | None,
    tensorpress: Command,
    asked: list[str | None],
    cifar: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places = []

    def catch(net: nn.Module, example: torch.Tensor, *_: Any, **__: Any) -> None:
        places.extend([example.device, *(p.device for p in net.parameters())])
        raise Seen

    monkeypatch.setattr("tensorpress.compression.compress", catch)
    monkeypatch.setattr("tensorpress.cli.work.explore.explore_network", catch)
    budget = ("--budget-params", "2") if command == "compress" else ()
    given = () if device is None else ("--device", device)
    assert tensorpress(command, *OWN, *budget, "--calibrate", cifar, *given).code == 130
    assert asked == [device]
    assert set(places) == {torch.device("cpu") if device is None else ELSEWHERE}


def test_accuracy_is_measured_there(
    tensorpress: Command, asked: list[str | None], cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = []

    def catch(*_: Any, place: Place, **__: Any) -> None:
        places.append(place.device)
        raise Seen

    monkeypatch.setattr("tensorpress.training.evaluate", catch)
    monkeypatch.setattr("tensorpress.cli.work.compress.evaluate", catch)
    data = ("--data", cifar, "--device", "cuda")
    assert tensorpress("evaluate", *OWN, *data).code == 130
    monkeypatch.setattr("tensorpress.compression.compress", lambda net, *_, **__: Model(net))
    assert tensorpress("compress", *OWN, "--energy", "0.5", *data).code == 130
    assert asked == ["cuda", "cuda"]
    assert places == [ELSEWHERE, ELSEWHERE]


class Model:
    """An account, as far as it is read before accuracy is measured."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def to_dict(self) -> dict[str, Any]:
        return {}
