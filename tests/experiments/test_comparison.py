"""Methods side by side: rows, failures as rows, and going on where it stopped."""

import copy
import dataclasses
import json
import sys

import pytest
import torch
from torch.nn.utils.parametrizations import weight_norm

import tensorpress as tp
from tensorpress.choices import COMPARED
from tensorpress.compression.pruning import CRITERIA
from tensorpress.data import Dataset, ImageSet, normalise
from tensorpress.deploy.latency import interleaved_seconds
from tensorpress.experiments import compare as comparing
from tensorpress.experiments import contestant, int8
from tensorpress.experiments.compare import compare, row_passes
from tensorpress.experiments.comparison import Comparison, Row
from tensorpress.experiments.comparison_page import comparison_table, plot_comparison
from tensorpress.experiments.contestant import compressed
from tensorpress.layers import DECOMPOSITIONS
from tensorpress.training import Place, Recipe

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
    heard: list[Row] = []
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


def test_the_table_puts_the_best_of_a_budget_first_and_tells_failures():
    known = Row("net", "data", "a", 2.0, 2.1, 2.0, 9, 9, 91.0, 20.0, 80.0, -11.0, 100, 4.0)
    known = dataclasses.replace(known, milliseconds=2.0, milliseconds_dense=5.0, seconds=0.25)
    better = dataclasses.replace(known, method="b", acc=85.0, dacc=-6.0)
    dearer = dataclasses.replace(known, method="c", budget=4.0, acc=90.0)
    failed = Row("net", "data", "d", 2.0, reason="cannot be reached")
    lines = comparison_table([known, dearer, failed, better]).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| b", "| a", "| c"]
    cells = "| b | 2.00 | 2.10 | 20.00 | 85.00 ± 4.00 | -6.00 | 2.50x | 2.0 | 0.2 s |"
    assert lines[2] == cells
    assert lines[5:] == ["", "- d at FCR 2: cannot be reached"]


def test_finished_rows_are_not_done_again_and_more_methods_may_be_asked_for(tmp_path, monkeypatch):
    net, data = tiny()
    some = dataclasses.replace(ASKED, methods=METHODS[:1])
    first = compare("tiny", net, data, some, tmp_path)
    done = []
    measured = contestant.measured

    def counted(*given):
        done.append(given[3])
        return measured(*given)

    monkeypatch.setattr(comparing, "measured", counted)
    rows = compare("tiny", net, data, ASKED, tmp_path)
    assert done == [METHODS[1]] * 2
    assert [row for row in rows if row.method == METHODS[0]] == first


@pytest.mark.parametrize("taught", [False, True])
def test_a_gpu_of_the_machine_is_left_alone(tmp_path, monkeypatch, taught):
    net, data = tiny()
    gpu = Place(torch.device("meta"))  # on which nothing could be evaluated
    for name in ("evaluate", "loop"):
        module = sys.modules[f"tensorpress.training.{name}"]
        monkeypatch.setattr(module, "find_place", lambda: gpu)
    asked = dataclasses.replace(ASKED, budgets=(1.5,), methods=METHODS[:1], teacher=taught)
    (row,) = compare("tiny", net, data, asked, tmp_path)
    assert row.reason == ""


def test_a_method_that_fails_is_a_row_with_its_reason(tmp_path):
    net, data = tiny()
    asked = dataclasses.replace(ASKED, budgets=(1.5, 500.0), methods=METHODS[:1])
    good, bad = compare("tiny", net, data, asked, tmp_path)
    assert good.acc is not None
    assert bad.acc is None
    assert "FCR 500 cannot be reached" in bad.reason


def test_a_method_that_failed_is_tried_again(tmp_path, monkeypatch):
    net, data = tiny()
    asked = dataclasses.replace(ASKED, budgets=(1.5,), methods=("l1",))
    monkeypatch.setitem(sys.modules, "torch_pruning", None)
    (bad,) = compare("tiny", net, data, asked, tmp_path)
    assert bad.reason == "pruning needs Torch-Pruning: pip install 'tensorpress[prune]'"
    monkeypatch.undo()
    (good,) = compare("tiny", net, data, asked, tmp_path)
    assert good.reason == ""
    rows = json.loads((tmp_path / "compare.json").read_text())["rows"]
    assert [Row(**row) for row in rows] == [good]


ONE_ORDER = [name for name in COMPARED if not name.endswith("-reversed")]
"""A train with its axes in the other order shares all code with the first."""


@pytest.mark.parametrize("method", ONE_ORDER)
def test_every_method_gives_an_account_at_the_budget(method):
    net, data = tiny()
    account = compressed(net, data, ASKED, method, tp.Budget(macs=1.4))
    assert account.fcr >= 1.4
    assert account.request["method"] == method
    assert account.macs_before == tp.count(net, torch.zeros(1, 3, 12, 12)).macs


def test_all_methods_are_decompositions_and_criteria():
    assert ("auto", *DECOMPOSITIONS, *CRITERIA) == COMPARED


def test_taylor_sees_training_images_with_their_labels():
    net, data = tiny()
    asked = dataclasses.replace(ASKED, calibration_images=40)
    account = compressed(net, data, asked, "taylor", tp.Budget(macs=1.4))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:40]
    images = normalise(data.train.images[order], data.mean, data.std)
    wanted = tp.prune(
        net,
        torch.zeros(1, 3, 12, 12),
        method="taylor",
        budget=tp.Budget(macs=1.4),
        images=images,
        labels=data.train.labels[order],
    )
    assert account.request == wanted.request
    assert account.request["settings"]["images"] == 40
    for ours, theirs in zip(account.model.parameters(), wanted.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_pruned_networks_are_fine_tuned_and_timed_beside_the_whole_one(tmp_path, monkeypatch):
    net, data = tiny()
    timed = []
    interleaved = interleaved_seconds

    def watched(plans, inputs, *, rounds):
        timed.append([tp.count(plan.runner.net, inputs).macs for plan in plans])
        return interleaved(plans, inputs, rounds=rounds)

    monkeypatch.setattr(contestant, "interleaved_seconds", watched)
    asked = dataclasses.replace(ASKED, methods=("l1", "bn-scale"), budgets=(1.5,))
    rows = compare("tiny", net, data, asked, tmp_path)
    whole = tp.count(net, torch.zeros(2, 3, 12, 12)).macs
    assert [dense for _, dense in timed] == [whole, whole]
    for row, (small, _) in zip(rows, timed, strict=True):
        assert small == pytest.approx(whole / row.fcr)
        assert row.milliseconds > 0
        assert row.milliseconds_dense > 0
        assert (row.epochs, row.reason) == (1, "")
    plot_comparison(rows, tmp_path / "compare.png")


@pytest.mark.parametrize(
    ("name", "data_name", "methods"),
    [
        ("vggnet", "cifar10", ["DCP", "Random-DCP", "WM+", "CP", "PFEC", "TTPWT (0.6)"]),
        ("resnet56", "cifar-100-binary", ["SFP", "FPGM", "CCPrune", "FPDC", "TTPWT (0.55)"]),
        ("resnet56-projection", "cifar100", ["SFP", "FPGM", "CCPrune", "FPDC", "TTPWT (0.55)"]),
        ("resnet56", "cifar-10-batches-bin", ["HT-2", "HT-2"]),
        ("resnet20", "cifar-100-binary", []),
        ("tiny", "tiny", []),
    ],
)
def test_the_papers_rows_stand_beside_ours(tmp_path, name, data_name, methods):
    net, data = tiny()
    data = dataclasses.replace(data, name=data_name)
    asked = dataclasses.replace(ASKED, budgets=(1.5,), methods=("l1",), recipe=Recipe(0))
    compare(name, net, data, asked, tmp_path)
    kept = json.loads((tmp_path / "compare.json").read_text())
    assert [row["method"] for row in kept["printed"]] == methods
    if name == "vggnet":
        pfec = {"table": "table3", "method": "PFEC", "dacc": 0.15, "pcr": 2.78, "fcr": 1.52}
        assert pfec in kept["printed"]


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
    with pytest.raises(tp.TensorpressError, match=r"another comparison, with recipe\.\w+="):
        compare("tiny", net, data, none, tmp_path)


def spoilt(net: torch.nn.Module) -> torch.nn.Module:
    other = copy.deepcopy(net)
    with torch.no_grad():
        other[-1].bias[0] += 1e-3
    return other


@pytest.mark.parametrize(
    ("differs", "told"),
    [
        (lambda net, data: (spoilt(net), data), "weights="),
        (lambda net, data: (net, dataclasses.replace(data, mean=(0.4,) * 3)), r"data\.mean="),
        (lambda net, data: (net, dataclasses.replace(data, std=(0.3,) * 3)), r"data\.std="),
        (lambda net, data: (net, dataclasses.replace(data, test=data.train)), r"data\.test="),
        (lambda net, data: (net, data.hold_back(8)), r"data\.train=.* data\.test="),
    ],
    ids=["weights", "mean", "std", "test images", "training images"],
)
def test_rows_of_other_weights_or_data_do_not_stand_in_one_table(tmp_path, differs, told):
    asked = dataclasses.replace(ASKED, methods=METHODS[1:], budgets=(2.0,), recipe=Recipe(0))
    compare("tiny", *tiny(), asked, tmp_path)
    net, data = differs(*tiny())
    with pytest.raises(tp.TensorpressError, match=f"holds another comparison, with {told}"):
        compare("tiny", net, data, asked, tmp_path)
    assert len(compare("tiny", *tiny(), asked, tmp_path)) == 1


def test_folding_parametrizations_sets_a_comparison_apart(tmp_path):
    net, data = tiny()
    weight_norm(net[2])
    asked = dataclasses.replace(
        ASKED, methods=("l1",), budgets=(1.5,), recipe=Recipe(0), fold_parametrizations=True
    )
    (row,) = compare("tiny", net, data, asked, tmp_path)
    assert row.reason == ""
    assert "parametrizations.weight.original0" in net[2].state_dict()
    asked = dataclasses.replace(asked, fold_parametrizations=False)
    with pytest.raises(tp.TensorpressError, match="with fold_parametrizations=True: choose"):
        compare("tiny", net, data, asked, tmp_path)


def test_rows_from_before_weights_and_data_were_told_are_not_gone_on_with(tmp_path):
    asked = dataclasses.replace(ASKED, methods=METHODS[1:], budgets=(2.0,), recipe=Recipe(0))
    compare("tiny", *tiny(), asked, tmp_path)
    content = json.loads((tmp_path / "compare.json").read_text())
    content["asked"] = {"network": "tiny", "data": "tiny", "seed": 0}
    (tmp_path / "compare.json").write_text(json.dumps(content))
    with pytest.raises(tp.TensorpressError, match=r"from before .*: choose another folder, or del"):
        compare("tiny", *tiny(), asked, tmp_path)


ROW = dataclasses.asdict(Row("net", "data", "a", 2.0))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", "cannot be read"),
        ("[]", "is damaged .its asked is None"),
        ('{"rows": []}', "is damaged .its asked is None"),
        ('{"asked": [], "rows": []}', "is damaged .its asked is "),
        ('{"asked": {}, "rows": {}}', "is damaged .its rows is "),
        ('{"asked": {}, "rows": [3]}', "is damaged .row 1"),
        ('{"asked": {}, "rows": [{"network": "a"}]}', "is damaged .row 1: data is missing"),
        (json.dumps({"asked": {}, "rows": [ROW | {"acc": "good"}]}), "row 1: acc is 'good'"),
        (json.dumps({"asked": {}, "rows": [ROW | {"fcr": float("nan")}]}), "row 1: fcr is nan"),
        (json.dumps({"asked": {}, "rows": [ROW | {"loss": 1.0}]}), "row 1: loss"),
    ],
)
def test_a_damaged_comparison_is_told_in_a_line_with_the_way_out(tmp_path, content, told):
    (tmp_path / "compare.json").write_text(content)
    with pytest.raises(tp.TensorpressError, match=rf"{told}.*: choose another folder, or delete"):
        compare("tiny", *tiny(), ASKED, tmp_path)
    assert (tmp_path / "compare.json").read_text() == content


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"runtime": "onnxruntim"}, "no runtime 'onnxruntim'; there is"),
        ({"threads": 100_000}, "threads=100000: give a whole number"),
        ({"calibration_images": 5}, "at least 16 images, and 5 are asked for"),
        ({"int8": True}, "torch computes in f32, bf16, not in int8"),
    ],
)
def test_what_no_method_can_do_is_refused_before_any_work(tmp_path, monkeypatch, asked, told):
    monkeypatch.setattr(comparing, "measured", lambda *_: pytest.fail("it was begun"))
    with pytest.raises(tp.TensorpressError, match=told):
        compare("tiny", *tiny(), dataclasses.replace(ASKED, **asked), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_a_row_takes_in_passes_of_an_image() -> None:
    _, data = tiny()  # 64 images to train on, 32 to test on, twice
    assert row_passes(dataclasses.replace(ASKED, recipe=Recipe(0)), data) == 2 * 32
    assert row_passes(ASKED, data) == 64 * 5 + 2 * 32
    taught = dataclasses.replace(ASKED, recipe=Recipe(10), teacher=True)
    assert row_passes(taught, data) == 10 * 64 * 6 + 2 * 32


def test_int8_is_a_row_beside_each_and_one_of_the_network_as_it_is(tmp_path):
    net, data = tiny()
    plain = dataclasses.replace(ASKED, budgets=(1.5,), methods=METHODS[:1], runtime="onnxruntime")
    asked = dataclasses.replace(plain, int8=True)
    rows = compare("tiny", net, data, asked, tmp_path)
    assert [row.name for row in rows] == ["dense, int8", "ttpwt", "ttpwt, int8"]
    assert [row.epochs for row in rows] == [0, 1, 1]
    dense, own, small = rows
    assert (dense.pcr, dense.fcr, dense.macs) == (
        1,
        1,
        tp.count(net, torch.zeros(1, 3, 12, 12)).macs,
    )
    assert (small.fcr, small.macs) == (own.fcr, own.macs)
    for row in rows:
        assert row.dacc == row.acc - row.acc_baseline
        assert row.milliseconds > 0
        assert row.milliseconds_dense > 0
    assert compare("tiny", net, data, asked, tmp_path) == rows
    assert compare("tiny", net, data, plain, tmp_path) == [own]
    plot_comparison(rows, tmp_path / "compare.png")


def test_int8_asked_for_later_is_measured_beside_what_is_there(tmp_path):
    net, data = tiny()
    plain = dataclasses.replace(
        ASKED, budgets=(1.5,), methods=METHODS[:1], runtime="onnxruntime", recipe=Recipe(0)
    )
    compare("tiny", net, data, plain, tmp_path)
    compare("tiny", net, data, dataclasses.replace(plain, int8=True), tmp_path)
    kept = [Row(**row) for row in json.loads((tmp_path / "compare.json").read_text())["rows"]]
    assert [row.name for row in kept] == ["dense, int8", "ttpwt", "ttpwt, int8"]


def test_int8_that_fails_is_a_row_with_its_reason_beside_the_other(tmp_path, monkeypatch):
    net, data = tiny()
    asked = dataclasses.replace(
        ASKED, budgets=(1.5,), methods=METHODS[:1], runtime="onnxruntime", int8=True
    )

    def refused(*_, **__):
        raise tp.TensorpressError("no int8 today.")

    monkeypatch.setattr(int8, "plan", refused)
    dense, own, small = compare("tiny", net, data, asked, tmp_path)
    assert (dense.reason, own.reason, small.reason) == ("no int8 today.", "", "no int8 today.")
    assert own.acc is not None
    lines = comparison_table([dense, own, small]).splitlines()
    assert lines[-2:] == [
        "- dense, int8 at FCR 1: no int8 today.", "- ttpwt, int8 at FCR 1.5: no int8 today."
    ]  # fmt: skip
