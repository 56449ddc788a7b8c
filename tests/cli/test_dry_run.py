"""--dry-run: what would be done is told, what is wrong is refused, and nothing is changed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command import Command
from test_bad_input import assert_one_message

from tensorpress.cli.app import app

OWN = "--net my_nets.own:make"
# what follows the command, and what it would write
GIVEN: dict[str, tuple[str, list[str]]] = {
    "compress": (
        f"compress {OWN} --budget-params 1.2 --calibrate inputs.npy --data CIFAR "
        "--method ttpwt -o NEW/OUT",
        ["NEW/OUT/model.tp", "NEW/OUT/account.json", "NEW/OUT/account.txt"],
    ),
    "compress again": (
        f"compress {OWN} --compressed SMALL/model.tp --method l1 --budget-macs 1.2 -o SMALL",
        ["SMALL/model.tp", "SMALL/account.json", "SMALL/account.txt"],
    ),
    "compress a graph": (
        "compress --net model.onnx --energy 0.8 -o NEW",
        ["NEW/model.onnx", "NEW/account.json", "NEW/account.txt"],
    ),
    "export": (f"export {OWN} --compressed SMALL/model.tp -o NEW/model.pt2", ["NEW/model.pt2"]),
    "train": (f"train {OWN} --data CIFAR --epochs 2 -o NEW", ["NEW/model.tp"]),
    "finetune": (
        f"finetune {OWN} --compressed SMALL/model.tp --data CIFAR --epochs 2 -o NEW",
        ["NEW/model.tp"],
    ),
    "run": (
        f"run {OWN} --data CIFAR --energy 0.8 --epochs 2 --calibration-images 0 --control -o NEW",
        ["NEW/model.tp"],
    ),
    "reproduce": (
        "reproduce resnet20-cifar10 --data digits --epochs 1 --hold-back 1300 "
        "--batch-size 16 --calibration-images 0 --no-control -o NEW",
        ["NEW/results.json"],
    ),
}


@pytest.fixture
def given(tensorpress: Command, tmp_path: Path) -> None:
    """What the commands work on, in the working directory."""
    assert tensorpress("compress", *OWN.split(), "--energy", "0.8", "-o", "SMALL").code == 0
    drawn = np.random.default_rng(0).standard_normal((16, 3, 32, 32), dtype=np.float32)
    np.save(tmp_path / "inputs.npy", drawn)


def files_in(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file and folder was last changed, and what is in it."""
    return {
        str(path): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
        if "__pycache__" not in path.parts
    }


def words(name: str, cifar: Path) -> list[str]:
    return GIVEN[name][0].replace("CIFAR", str(cifar)).split()


def graph_file(path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3))
    torch.onnx.export(net, (torch.zeros(1, 3, 8, 8),), path, dynamo=False, verbose=False)


def test_every_command_that_has_it_is_tried() -> None:
    has = {
        command.name
        for command in app.registered_commands
        if "dry_run" in getattr(command.callback, "__signature__").parameters  # noqa: B009
    }
    assert {words.split()[0] for words, _ in GIVEN.values()} == has


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize("name", GIVEN)
def test_nothing_is_changed(name: str, tensorpress: Command, tmp_path: Path, cifar: Path) -> None:
    if name == "compress a graph":
        graph_file(tmp_path / "model.onnx")
    before = files_in(tmp_path)
    answer = tensorpress(*words(name, cifar), "--dry-run", "--json", "-q")
    assert (answer.code, answer.err) == (0, "")
    assert files_in(tmp_path) == before
    told = json.loads(answer.out)
    assert told["files"] == GIVEN[name][1]


@pytest.mark.usefixtures("given")
def test_layers_reasons_time_and_size_are_told(tensorpress: Command, cifar: Path) -> None:
    asked = words("compress", cifar)
    told = json.loads(tensorpress(*asked, "--dry-run", "--json").out)
    account = json.loads(tensorpress(*asked, "--no-recover", "--json").out)
    layers = {row["name"]: row for row in account["layers"]}
    assert [*told["treated"], *told["kept"]] == ["2", "4", "0", "7"]
    assert {*told["treated"]} >= {name for name, row in layers.items() if row["method"]}
    for name, reason in told["kept"].items():
        assert layers[name]["decision"] == f"kept: {reason}"
    assert told["dense_bytes"] == 4 * account["params_before"]
    assert told["most_bytes"] >= 4 * account["params_after"]
    assert {"measuring layers", "distilling"} <= set(told["seconds"])
    assert all(seconds > 0 for seconds in told["seconds"].values())


@pytest.mark.usefixtures("given")
def test_a_run_is_foreseen_by_its_first_steps(tensorpress: Command, cifar: Path) -> None:
    told = json.loads(tensorpress(*words("run", cifar), "--dry-run", "--json").out)
    seconds = told["seconds"]
    assert list(seconds) == ["baseline", "finetune", "dense_control"]
    assert seconds["finetune"] > seconds["baseline"] > 0  # from a teacher
    assert seconds["dense_control"] == pytest.approx(seconds["baseline"])
    assert set(told["compression"]["treated"]) == {"2", "4"}
    twice = [*words("run", cifar), "--train-epochs", "40"]
    more = json.loads(tensorpress(*twice, "--dry-run", "--json").out)["seconds"]
    assert more["baseline"] == pytest.approx(20 * more["dense_control"])
    assert tensorpress(*words("run", cifar)).code == 0
    answer = tensorpress(*words("run", cifar), "--dry-run")
    assert answer.out == "the run is finished: nothing would be done\n"
    told = json.loads(tensorpress(*words("run", cifar), "--dry-run", "--json").out)
    assert (told["finished"], told["files"]) == (True, [])


@pytest.mark.usefixtures("given")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (f"compress {OWN} --energy 0.8 -o file/OUT", "file is a file, not a folder"),
        (f"compress {OWN} --energy 0.8 -o taken", "account.json: it is a folder"),
        (f"compress {OWN} --energy 0.8 --include 9 -o NEW", "include '9' fits no layer"),
        (f"export {OWN} -o SMALL/model.tp/model.pt2", "model.tp is a file, not a folder"),
        (f"export {OWN} -o folder.pt2", "it is a folder"),
        (f"train {OWN} --data CIFAR --epochs 1 -o SMALL", "is not empty and holds no run"),
        (f"train {OWN} --data CIFAR --epochs 1 -o file/RUN", "file is a file, not a folder"),
        (f"run {OWN} --data CIFAR --energy 0.8 --exclude 9 -o NEW", "exclude '9' fits no layer"),
    ],
)
def test_what_a_real_run_refuses_is_refused(
    arguments: str, message: str, tensorpress: Command, tmp_path: Path, cifar: Path
) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder.pt2").mkdir()
    (tmp_path / "taken" / "account.json").mkdir(parents=True)
    given = arguments.replace("CIFAR", str(cifar)).split()
    before = files_in(tmp_path)
    assert_one_message(tensorpress(*given, "--dry-run"), message)
    assert files_in(tmp_path) == before
