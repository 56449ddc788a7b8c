"""Names with accented letters are the same in either of the forms that they can be written in."""

import shutil
from itertools import product
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tensorpress as tp
from tensorpress.data import load_data, load_unlabelled
from tensorpress.files import as_path

FORMS = ("NFC", "NFD")
NAME = "Käfer é"
pytestmark = pytest.mark.parametrize(("one", "other"), list(product(FORMS, FORMS)))


def _net(name: str) -> nn.Module:
    torch.manual_seed(0)
    layers = {"first": nn.Conv2d(3, 8, 3), name: nn.Conv2d(8, 8, 3), "last": nn.Conv2d(8, 8, 3)}
    return _Chain(layers)


class _Chain(nn.Module):
    def __init__(self, layers: dict[str, nn.Module]) -> None:
        super().__init__()
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x = layer(x)
        return x


IMAGE = torch.zeros(1, 3, 9, 9)


def test_layers_by_name_and_pattern(one: str, other: str) -> None:
    net = _net(normalize(one, NAME))
    result = tp.compress(net, IMAGE, rank=tp.Ranks(2, 2, 2), exclude=[normalize(other, NAME)])
    assert [row.ranks for row in result.layers] == [None, None, (2, 2, 2)]
    rules = {normalize(other, "Kä*"): tp.Ranks(1, 1, 1), "*": tp.Ranks(2, 2, 2)}
    by_rule = tp.compress(net, IMAGE, rank=rules)
    assert [row.ranks for row in by_rule.layers] == [None, (1, 1, 1), (2, 2, 2)]


def test_weights_by_name(one: str, other: str, tmp_path: Path) -> None:
    net, fresh = _net(normalize(one, NAME)), _net(normalize(other, NAME))
    for parameter in net.parameters():
        nn.init.normal_(parameter)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    tp.load_weights(fresh, tmp_path / "w.pth")
    assert all(map(torch.equal, net.parameters(), fresh.parameters()))


def test_files_and_classes(one: str, other: str, tmp_path: Path) -> None:
    folder = tmp_path / normalize(one, "Bilder ö")
    for part, form in (("train", one), ("test", other)):
        for name in ("ant", normalize(form, NAME)):
            (folder / part / name).mkdir(parents=True)
            pixels = np.full((4, 4), len(name), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / part / name / "0.png")
    asked = tmp_path / normalize(other, "Bilder ö")
    assert as_path(asked) == folder
    data = load_data(asked)
    assert data.classes == (normalize("NFC", NAME), "ant")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1], [0, 1])
    assert data.name == normalize("NFC", "Bilder ö")
    assert len(load_unlabelled(asked, most=9)) == 2
    shutil.move(folder / "test" / "ant" / "0.png", folder / "train" / "ant" / "1.png")
    assert load_data(asked).train.labels.tolist() == [0, 1, 1]


def test_a_new_name_stays_as_it_was_given(one: str, other: str, tmp_path: Path) -> None:
    assert as_path(tmp_path / normalize(one, NAME)).name == normalize(one, NAME)
    tp.save(_net("plain"), tmp_path / normalize(one, "ö.tp"))
    tp.save(_net("plain"), tmp_path / normalize(other, "ö.tp"))
    assert len(list(tmp_path.iterdir())) == 1
