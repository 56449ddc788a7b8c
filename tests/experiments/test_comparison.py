"""Methods side by side: rows, failures as rows, and going on where it stopped."""

import dataclasses
import json

import pytest
import torch

import tensorpress as tp
from tensorpress.data import Dataset, ImageSet
from tensorpress.experiments import comparison
from tensorpress.experiments.comparison import Comparison, Row, compare, plot_comparison
from tensorpress.training import Recipe

METHODS = ("ttpwt", "channel-svd")


def tiny() -> tuple[torch.nn.Module, Dataset]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (96, 3, 12, 12), dtype=torch.uint8, generator=generator)
    labels = (images.float().mean((1, 2, 3)) > images.float().mean()).long()
    train, test = ImageSet(images[:64], labels[:64]), ImageSet(images[64:], labels[64:])
    data = Dataset("tiny", train, test, ("dark", "light"), (0.5,) * 3, (0.25,) * 3, 1, flip=True)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(8, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(16, 2),
    )
    return net.eval(), data


ASKED = Comparison(METHODS, (1.5, 3.0), Recipe(1, lr=0.01, batch_size=16), batch=2)


def test_every_method_at_every_budget_is_a_row(tmp_path):
    net, data = tiny()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    heard = []
    rows = compare("tiny", net, data, ASKED, tmp_path, command="words", on_row=heard.append)
    assert rows == heard
    assert [(r.budget, r.method) for r in rows] == [(b, m) for b in (1.5, 3.0) for m in METHODS]
    for row in rows:
        assert row.reason == ""
        assert row.fcr >= row.budget
        assert row.dacc == pytest.approx(row.acc - row.acc_baseline)
        assert (row.images, row.epochs, row.command) == (32, 1, "words")
        assert row.milliseconds > 0
    kept = json.loads((tmp_path / "compare.json").read_text())
    assert [Row(**row) for row in kept["rows"]] == rows
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    plot_comparison(rows, tmp_path / "compare.png")
    assert (tmp_path / "compare.png").stat().st_size > 1000


def test_finished_rows_are_not_done_again_and_more_methods_may_be_asked_for(tmp_path, monkeypatch):
    net, data = tiny()
    some = dataclasses.replace(ASKED, methods=METHODS[:1])
    first = compare("tiny", net, data, some, tmp_path)
    done = []
    measured = comparison._measured

    def counted(*given):
        done.append(given[3])
        return measured(*given)

    monkeypatch.setattr(comparison, "_measured", counted)
    rows = compare("tiny", net, data, ASKED, tmp_path)
    assert done == [METHODS[1]] * 2
    assert [row for row in rows if row.method == METHODS[0]] == first


def test_a_method_that_fails_is_a_row_with_its_reason(tmp_path):
    net, data = tiny()
    asked = dataclasses.replace(ASKED, budgets=(1.5, 500.0), methods=METHODS[:1])
    good, bad = compare("tiny", net, data, asked, tmp_path)
    assert good.acc is not None
    assert bad.acc is None
    assert "FCR 500 cannot be reached" in bad.reason


def test_fine_tuning_is_the_same_for_all_and_helps_from_a_teacher(tmp_path):
    net, data = tiny()
    asked = dataclasses.replace(ASKED, methods=METHODS[:1], budgets=(3.0,), teacher=True)
    (row,) = compare("tiny", net, data, asked, tmp_path / "a")
    (again,) = compare("tiny", net, data, asked, tmp_path / "b")
    assert (row.acc_before, row.acc) == (again.acc_before, again.acc)


def test_a_folder_of_another_comparison_is_refused(tmp_path):
    net, data = tiny()
    none = dataclasses.replace(ASKED, methods=(), budgets=(2.0,))
    one = dataclasses.replace(ASKED, methods=METHODS[1:], budgets=(2.0,), recipe=Recipe(0))
    compare("tiny", net, data, one, tmp_path)
    with pytest.raises(tp.TensorpressError, match="another comparison, with recipe"):
        compare("tiny", net, data, none, tmp_path)
    (tmp_path / "compare.json").write_text("{")
    with pytest.raises(tp.TensorpressError, match="damaged"):
        compare("tiny", net, data, one, tmp_path)
