"""--calibrate of compress, --calibration-images of run, and the advice that compress ends with."""

import importlib
import json
import re
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command import Command
from PIL import Image
from test_bad_input import assert_one_message
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.artifacts import read_manifest
from tensorpress.data import load_unlabelled
from tensorpress.training import stages

OWN = ["compress", "--net", "my_nets.own:make", "--budget-params", "1.5", "--method", "ttpwt"]
"""By one method, as the best of several takes longer, and is asked for in the same words."""


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 images to train on and 20 to test on, in CIFAR-10's layout."""
    folder = tmp_path_factory.mktemp("records")
    for name, count in (("data_batch_1.bin", 40), ("test_batch.bin", 20)):
        labels = (np.arange(count, dtype=np.uint8) % 10)[:, None]
        planes = pixels(count).transpose(0, 3, 1, 2).reshape(count, -1)
        (folder / name).write_bytes(np.hstack([labels, planes]).tobytes())
    return folder


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images in a folder."""
    folder = tmp_path_factory.mktemp("flat") / "images"
    folder.mkdir()
    for number, image in enumerate(pixels(24)):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def pixels(count: int) -> np.ndarray:
    """(count, 32, 32, 3) in coarse blocks."""
    coarse = np.random.default_rng(1).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


def expected(images: Tensor, **options: Any) -> dict[str, Tensor]:
    """What `compress` in Python makes of the network that ``OWN`` names."""
    net: nn.Module = importlib.import_module("my_nets.own").make().eval()
    budget = tp.Budget(params=1.5)
    result = tp.compress(
        net,
        torch.zeros(1, 3, 32, 32),
        method="ttpwt",
        budget=budget,
        calibration=images,
        **options,
    )
    return result.model.state_dict()


def assert_is(file: Path, state: dict[str, Tensor]) -> None:
    made = tp.load(file, into=importlib.import_module("my_nets.own").make()).state_dict()
    assert made.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in made.items())


@pytest.mark.parametrize("recover", [True, False])
def test_compress_on_data_with_classes(
    recover: bool, tensorpress: Command, records: Path, tmp_path: Path
) -> None:
    given = ["--calibrate", records, "--calibration-images", "32", "--data", records, "-o", "OUT"]
    answer = tensorpress(*OWN, *given, *([] if recover else ["--no-recover"]))
    assert (answer.code, answer.err) == (0, "")
    assert "on 20 test images, not fine-tuned" in answer.out
    asked = json.loads((tmp_path / "OUT" / "account.json").read_text())["request"]["calibration"]
    assert asked["images"] == 32
    assert (asked["distil_epochs"] > 0) is recover
    state = expected(load_unlabelled(records, most=32), recover=recover)
    assert_is(tmp_path / "OUT" / "model.tp", state)


def test_compress_on_a_folder_of_images(tensorpress: Command, flat: Path, tmp_path: Path) -> None:
    given = ["--calibrate", flat, "--no-recover", "-o", "OUT"]
    assert tensorpress(*OWN, *given).code == 0
    normalised = ["--mean", "0.2,0.5,0.8", "--std", "0.1,0.5,0.3"]  # no --data is needed
    assert tensorpress(*OWN, *given[:-1], "MINE", *normalised).code == 0
    told: dict[str, Any]
    for output, told in (("OUT", {}), ("MINE", {"mean": (0.2, 0.5, 0.8), "std": (0.1, 0.5, 0.3)})):
        images = load_unlabelled(flat, most=2000, **told)
        assert len(images) == 24
        assert_is(tmp_path / output / "model.tp", expected(images, recover=False))
        source = read_manifest(tmp_path / output / "model.tp").source
        assert {name: tuple(source[name]) for name in ("mean", "std") if name in source} == told


def test_images_are_normalised_as_those_of_the_data_are(
    tensorpress: Command, flat: Path, records: Path, tmp_path: Path
) -> None:
    normalised = ["--mean", "0.2,0.5,0.8", "--std", "0.1,0.5,0.3"]
    given = ["--calibrate", flat, "--no-recover", "--data", records, *normalised, "-o", "OUT"]
    assert tensorpress(*OWN, *given).code == 0
    images = load_unlabelled(flat, most=2000, mean=(0.2, 0.5, 0.8), std=(0.1, 0.5, 0.3))
    assert_is(tmp_path / "OUT" / "model.tp", expected(images, recover=False))


@pytest.mark.parametrize("stage", ["input_moments", "layer_losses", "settle_batch_norm", "distil"])
def test_stopped_in_any_stage_it_says_so_and_leaves_nothing(
    stage: str, tensorpress: Command, flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"tensorpress.compression.metrics.input_metric.{stage}", interrupted)
    answer = tensorpress(*OWN, "--calibrate", flat, "-o", "OUT")
    assert (answer.code, answer.out, answer.err) == (130, "", "stopped.\n")
    assert not (tmp_path / "OUT").exists()


QUALITY = ["compress", "--net", "my_nets.own:make", "--method", "ttpwt", "--no-recover"]


def test_a_quality_is_kept(tensorpress: Command, records: Path, tmp_path: Path) -> None:
    given = ["--calibrate", records, "--include", "4", "-o", "OUT"]
    answer = tensorpress(
        *QUALITY, "--calibration-images", "64", "--keep-output-error", "0.9", *given
    )
    assert_one_message(answer, "holds 32 calibration images back and needs 16 others, and 40 were")

    answer = tensorpress(*QUALITY, "--max-drop", "99", "--data", records, "-o", "OUT")
    assert answer.code == 0
    assert "drop: of the accuracy on 8 training images held back" in answer.out
    account = json.loads((tmp_path / "OUT" / "account.json").read_text())
    assert account["quality"]["measure"] == "drop"
    assert account["request"]["budget"]["max_drop"] == 99
    assert account["request"]["calibration"]["images"] == 32
    other = ["--config", "OUT/account.json", "--calibrate", records, "-o", "SMALL"]
    assert tensorpress(*QUALITY, *other, "--budget-params", "1.2").code == 0
    assert "quality" not in json.loads((tmp_path / "SMALL" / "account.json").read_text())


@pytest.mark.usefixtures("measured_once")
def test_a_precision_is_chosen_and_the_command_that_is_printed_writes_it(
    tensorpress: Command, tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path / "many"
    folder.mkdir()
    for number, image in enumerate(pixels(48)):  # of which 32 are held back
        Image.fromarray(image).save(folder / f"{number}.png")
    given = ["--keep-output-error", "0.9", "--precisions", "int8", "--runtime", "onnxruntime"]
    given += ["--threads", "1", "--batch", "2", "--calibrate", str(folder), "--include", "4"]
    answer = tensorpress(*QUALITY, *given, "-o", "OUT")
    assert answer.code == 0
    chosen = json.loads((tmp_path / "OUT" / "account.json").read_text())["precision"]
    assert (chosen["name"], chosen["runtime"], chosen["batch"]) == ("int8", "onnxruntime", 2)
    told = re.search(r"^As it was chosen: tensorpress (export .*)$", answer.out, re.MULTILINE)
    assert told is not None
    assert "--precision int8" in told[1]
    assert told[1].count("--keep-float") == len(chosen["in_float"])
    written = tensorpress(*shlex.split(told[1]), "--min-agreement", "0")
    assert written.code == 0
    held = re.search(r"^int8 +(\d+) of (\d+) layers$", written.out, re.MULTILINE)
    assert held is not None
    assert (held[1] == held[2]) == (chosen["in_int8"] == chosen["layers"])
    assert (tmp_path / "model.onnx").exists()


MISTAKES: dict[str, tuple[str, str]] = {
    "no folder": ("--calibrate gone", "there is no folder 'gone'"),
    "an empty folder": ("--calibrate my_nets", "my_nets holds no images"),
    "few images": ("--calibrate CIFAR", "at least 16 images, and 10 were given"),
    "another shape": (
        "--calibrate FLAT --resize 16 --crop 16",
        "FLAT has images of shape 3,16,16, and the network takes 3,32,32: give --input-shape",
    ),
    "another shape than the data's": (
        "--calibrate FLAT --data digits",
        r"the network does not run on the example inputs \(\(2, 1, 8, 8\) float32\)",
    ),
    "grey for a colour network": (
        "--calibrate digits",
        "--calibrate digits has images of shape 1,8,8, and the network takes 3,32,32",
    ),
    "a mean too short": ("--calibrate FLAT --mean 1,1", "mean has 2 values"),
    "out of reach": ("--calibrate FLAT --budget-macs 99", "PCR 1.5 and FCR 99 cannot be reached"),
    "a quality beside a ratio": (
        "--calibrate FLAT --keep-agreement 0.9",
        "agreement=, params=.: a quality is asked for alone",
    ),
    "nothing to recover with": ("--no-recover", "recover=False.*give calibration= .--calibrate."),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(
    arguments: str, message: str, tensorpress: Command, cifar: Path, flat: Path, tmp_path: Path
) -> None:
    places = {"CIFAR": str(cifar), "FLAT": str(flat)}
    given = [places.get(word, word) for word in arguments.split()]
    answer = tensorpress(*OWN, *given, "-o", "OUT")
    assert_one_message(answer, message.replace("FLAT", str(flat)))
    assert not (tmp_path / "OUT").exists()


RUN = (
    *("run", "--net", "my_nets.own:make", "--budget-params", "1.5", "--train-epochs", "0"),
    *("--method", "ttpwt"),
    *("--finetune-epochs", "1", "--calibration-images", "32", "--seed", "3"),
)


@pytest.mark.parametrize("stage", ["compressed", "finetuned"])
def test_a_run_goes_on_and_ends_the_same(
    stage: str,
    tensorpress: Command,
    records: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.set_num_threads(1)
    assert tensorpress(*RUN, "--data", records, "-o", "STRAIGHT").code == 0
    config = json.loads((tmp_path / "STRAIGHT" / "config.json").read_text())
    assert config["compression"]["calibration"] == {"images": 32, **asdict(tp.Recovery())}

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(stages, stage, interrupted)
        assert tensorpress(*RUN, "--data", records, "-o", "RUN").code == 130
    assert not (tmp_path / "RUN" / "model.tp").exists()
    refused = tensorpress(*RUN, "--no-recover", "--data", records, "-o", "RUN")
    assert refused.code == 2
    assert tensorpress(*RUN, "--data", records, "-o", "RUN").code == 0
    for name in ("compressed.tp", "model.tp", "summary.json"):
        ended = [(tmp_path / folder / name).read_bytes() for folder in ("RUN", "STRAIGHT")]
        assert ended[0] == ended[1], name


def test_the_row_of_a_run_tells_the_images_that_there_were(
    tensorpress: Command, records: Path, tmp_path: Path
) -> None:
    more = ("--calibration-images", "5000", "--finetune-epochs", "0")
    assert tensorpress(*RUN, *more, "--data", records, "-o", "RUN").code == 0
    (row,) = json.loads((tmp_path / "RUN" / "results.json").read_text())
    account = read_manifest(tmp_path / "RUN" / "model.tp").account
    assert account is not None
    there_were = account["request"]["calibration"]["images"]
    assert there_were < 5000
    assert f"calibrated on {there_were} images" in row["method"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--calibration-images 8", "at least 16 images, and 8 are asked for"),
        ("--calibration-images 0 --no-recover", "give calibration_images"),
    ],
)
def test_mistakes_of_a_run_are_told_before_it_trains(
    arguments: str, message: str, tensorpress: Command, tmp_path: Path
) -> None:
    answer = tensorpress(*RUN, *arguments.split(), "--data", "digits", "-o", "RUN")
    assert_one_message(answer, message)
    assert not (tmp_path / "RUN").exists()


LAST = "--epochs 10 -o RUN\n"
KEEPS = "--calibrate DIR, with images that need no labels, keeps much of it from the start."


def test_advice(tensorpress: Command, flat: Path, records: Path) -> None:
    torch.save(tp.networks.resnet20().state_dict(), "dense.pt")
    ours = ["compress", "--net", "resnet20", "--weights", "dense.pt", "--ranks", "4,6,4"]
    command = "Next: tensorpress finetune --compressed OUT/model.tp --data"
    plain = tensorpress(*ours, "-o", "OUT").out
    assert KEEPS in plain
    assert plain.endswith(f"{command} DIR --teacher dense.pt {LAST}")

    one = [*ours, "--include", "layer3.0.conv1", "--data", records]
    calibrated = tensorpress(*one, "--calibrate", flat, "--no-recover", "-o", "OUT").out
    assert "--calibrate" not in calibrated
    assert calibrated.endswith(f"{command} {records} --teacher dense.pt {LAST}")


def test_advice_for_a_network_of_ones_own(tensorpress: Command, flat: Path) -> None:
    written = tensorpress(*OWN, "-o", "OUT").out
    command = "Next: tensorpress finetune --net my_nets.own:make --compressed OUT/model.tp"
    assert written.endswith(f"{command} --data DIR {LAST}")
    unwritten = tensorpress(*OWN).out
    assert unwritten.endswith(f"{KEEPS}\nNothing was written: give -o OUT to keep the network.\n")
    calibrated = tensorpress(*OWN, "--calibrate", flat, "--no-recover").out
    assert KEEPS not in calibrated


def test_the_seed_is_that_of_calibration(tensorpress: Command, flat: Path) -> None:
    own = ["compress", "--net", "my_nets.own:make"]
    first = [*own, "--energy", "0.8", "--no-recover", "--seed", "3"]
    again = [*own, "--config", "OUT/account.json"]
    for words in (first, again):
        answer = tensorpress(*words, "--calibrate", flat, "-o", "OUT", "--json")
        assert json.loads(answer.out)["request"]["calibration"]["seed"] == 3
    assert_one_message(tensorpress(*first), "--seed 3 is of calibration: give --calib")


@pytest.mark.parametrize(("words", "seed"), [([], 0), (["--seed", "3"], 3)])
def test_explore_takes_the_seed(
    words: list[str],
    seed: int,
    tensorpress: Command,
    flat: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds = []

    def catch(*_: Any, **given: Any) -> None:
        seeds.append(given["seed"])
        raise KeyboardInterrupt

    monkeypatch.setattr("tensorpress.cli.work.explore.explore_network", catch)
    asked = ["explore", "--net", "my_nets.own:make", "--calibrate", flat]
    assert tensorpress(*asked, *words).code == 130
    assert seeds == [seed]


def test_pixels_in_a_file_of_numpy_are_normalised(tensorpress: Command, tmp_path: Path) -> None:
    """By --mean and --std; without these it is not known what they become."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 3, 12, 12), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    np.save(tmp_path / "ready.npy", ((pixels / 255 - 0.5) / 0.25).astype(np.float32))
    asked = ["compress", "--net", "my_nets.own:make", "--input-shape", "3,12,12", "--no-recover"]
    asked += ["--budget-macs", "1.5", "--methods", "tucker2", "--quiet", "--calibrate"]
    how = ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
    answer = tensorpress(*asked, "pixels.npy", *how)
    assert (answer.code, answer.out) == (0, tensorpress(*asked, "ready.npy").out)
    np.save(tmp_path / "moved.npy", pixels.transpose(0, 2, 3, 1))
    assert tensorpress(*asked, "moved.npy", *how).out == answer.out
    assert "with mean= and std= (--mean, --std)" in tensorpress(*asked, "pixels.npy").err
    unread = tensorpress(*asked, "pixels.npy", *how, "--crop", "8", "--workers", "3")
    assert unread.err.startswith("error: --crop, --workers: said of images that are read from")
    few = tensorpress(*asked, "pixels.npy", "--mean", "0.5", "--std", "0.25")
    assert "mean has 1 value, but pixels.npy have 3 channels" in few.err


def test_mean_and_std_are_refused_beside_values_as_they_are(
    tensorpress: Command, tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).standard_normal((24, 3, 12, 12), dtype=np.float32)
    np.save(tmp_path / "ready.npy", rows)
    asked = ["--input-shape", "3,12,12", "--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25"]
    answer = tensorpress(*OWN, "--calibrate", "ready.npy", *asked, "-o", "OUT")
    assert_one_message(answer, "ready.npy holds torch.float32, which are taken as they are: leave")
    assert not (tmp_path / "OUT").exists()

    source = {"mean": [0.5] * 3, "std": [0.25] * 3, "input_shape": [3, 12, 12]}
    tp.save(importlib.import_module("my_nets.own").make(), "plain.tp", source=source)
    again = [*OWN, "--compressed", "plain.tp", "--calibrate", "ready.npy", "--no-recover"]
    assert tensorpress(*again).code == 0  # which the file says, and nobody asked for here


def test_arrays_that_no_input_asks_for_are_named(tensorpress: Command, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 3, 12, 12), dtype=np.uint8)
    np.save(tmp_path / "pixels.npy", pixels)
    np.savez(tmp_path / "more.npz", labels=np.arange(24), pixels=pixels)
    asked = [*OWN, "--input-shape", "3,12,12", "--no-recover", "--calibrate"]
    how = ["--mean", "0.5,0.5,0.5", "--std", "0.25,0.25,0.25", "-o"]
    assert tensorpress(*asked, "pixels.npy", *how, "ONE").err == ""
    answer = tensorpress(*asked, "more.npz", *how, "OUT")
    assert answer.code == 0
    assert answer.err == "more.npz: no input of the network asks for labels: left out\n"
    contents = [(tmp_path / out / "model.tp").read_bytes() for out in ("ONE", "OUT")]
    assert contents[0] == contents[1]


def test_whose_mean_it_is_that_does_not_fit_is_said(tensorpress: Command, flat: Path) -> None:
    asked = ["compress", "--net", "my_nets.own:wide", "--energy", "0.8", "--calibrate", flat]
    answer = tensorpress(*asked, "--data", "digits")
    told = "mean, as --data digits has it, has 1 value, but the images of images have 3 channels"
    assert_one_message(answer, told)
    source = {"num_classes": 10, "input_shape": [1, 12, 12], "mean": [0.5], "std": [0.5]}
    tp.save(importlib.import_module("my_nets.own").wide(10, 1), "gray.tp", source=source)
    answer = tensorpress(*asked, "--compressed", "gray.tp")
    assert_one_message(answer, "mean, as the compressed file has it, has 1 value")
