"""--resize, --crop and --interpolation, and what files remember of them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from command import Command
from PIL import Image
from test_bad_input import assert_one_message

from tensorpress.artifacts import read_manifest
from tensorpress.cli.inputs import read_calibration, read_inputs
from tensorpress.data import Framing, load_data
from tensorpress.data.wanted import Wanted
from tensorpress.networks.libraries.library import Usual

OWN = ("--net", "my_nets.own:make")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Images of many sizes: 24 to train on and 8 to test on, of two classes."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("val", 4)):
        for shade, name in ((40, "dark"), (200, "light")):
            folder = tmp_path / "many" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(-40, 40, (20 + number, 30 - number, 3))
                Image.fromarray((shade + noise).astype(np.uint8)).save(folder / f"{number}.png")
    (tmp_path / "many" / "train" / "dark" / ".ipynb_checkpoints").mkdir()
    return tmp_path / "many"


def test_a_network_goes_through_all_commands(
    tensorpress: Command, many: Path, tmp_path: Path
) -> None:
    shape = ("--input-shape", "3,16,16")
    framed = ("--interpolation", "bicubic", "--data", many)
    answer = tensorpress("compress", *OWN, *shape, *framed, "--energy", "0.5", "-o", "OUT")
    assert answer.code == 0
    assert answer.err.splitlines() == [
        f"{many}: left out 1 hidden folders (train/dark/.ipynb_checkpoints)",
        f"{many}: images are brought to the network's size: resize 18, crop 16, bicubic",
    ]
    assert "on 8 test images" in answer.out
    source = read_manifest(tmp_path / "OUT" / "model.tp").source
    assert (source["input_shape"], source["resize"]) == ([3, 16, 16], 18)
    assert source["interpolation"] == "bicubic"

    tuned = ("--compressed", "OUT/model.tp", *OWN, "--data", many, "--epochs", "2")
    answer = tensorpress("finetune", *tuned, "--batch-size", "8", "--workers", "0", "-o", "RUN")
    assert answer.code == 0
    assert "epoch 2/2" in answer.out
    remembered = read_manifest(tmp_path / "RUN" / "model.tp").source
    assert {key: remembered[key] for key in ("resize", "interpolation")} == {
        "resize": 18,
        "interpolation": "bicubic",
    }
    accuracy = tensorpress("evaluate", "--compressed", "RUN/model.tp", *OWN, "--data", many)
    assert accuracy.code == 0
    given = ("--resize", "18", "--crop", "16", *framed)
    assert tensorpress("evaluate", "--compressed", "RUN/model.tp", *OWN, *given).out == accuracy.out
    assert (
        tensorpress("export", "--compressed", "RUN/model.tp", *OWN, *given, "-o", "n.pt2").code == 0
    )


def test_calibration_takes_images_as_the_data_are_taken(
    tensorpress: Command, many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def catch(
        _net: object, example: torch.Tensor, *, calibration: torch.Tensor, **_: object
    ) -> None:
        seen.append((tuple(example.shape[1:]), calibration))
        raise KeyboardInterrupt

    monkeypatch.setattr("tensorpress.compression.compress", catch)
    asked = ("compress", *OWN, "--budget-params", "1.5", "--calibrate", many)
    framed = ("--resize", "20", "--crop", "16", "--input-shape", "3,16,16")
    assert tensorpress(*asked, *framed).code == 130
    shape, images = seen[0]
    assert shape == (3, 16, 16)
    assert images.shape == (24, 3, 16, 16)
    data = load_data(many, wanted=Wanted(framing=Framing(20, (16, 16))))
    assert data.train.held().images.shape == images.shape
    assert tensorpress(*asked, *framed, "--data", many).code == 130
    assert torch.equal(seen[1][1], images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--data many", "0.png is 30x20: .*--resize 256 --crop 224.*--input-shape 3,224"),
        ("--data many --resize 20", "say with crop="),
        ("--data many --crop 16 --input-shape 3,8,8", "is not that of the data, 3,16,16"),
        ("--data many --crop 16 --interpolation cubic", "give bilinear or bicubic"),
        ("--data many --crop 16 --workers -1", "give 0 to 256"),
        ("--data many --crop 0", "at least 1 pixel"),
        ("--resize 20 --crop 16", "or give --data"),
        ("--data digits --crop 16", "digits holds images of one size as records"),
        ("--data many --mean 123.7,116.3,103.5 --crop 16", "255, give 0.4851, 0.4561, 0.4059"),
    ],
)
def test_mistakes(tensorpress: Command, many: Path, arguments: str, message: str) -> None:
    assert many.is_dir()
    answer = tensorpress("compress", *OWN, "--energy", "0.5", *arguments.split(), "-o", "OUT")
    lines = answer.err.splitlines(keepends=True)
    assert_one_message(type(answer)(answer.code, answer.out, lines[-1]), message)


def test_images_to_test_on_are_enough_to_evaluate(tensorpress: Command, many: Path) -> None:
    given = (*OWN, "--input-shape", "3,16,16", "--data")
    assert tensorpress("compress", *given, many, "--energy", "0.5", "-o", "OUT").code == 0
    evaluate = ("evaluate", "--compressed", "OUT/model.tp", *given)
    whole = tensorpress(*evaluate, many)
    assert whole.code == 0, whole.err
    (many / "train").rename(many.parent / "kept")
    for alone in (many / "val", many):
        found = tensorpress(*evaluate, alone)
        assert found.out.split(" test images")[0] == whole.out.split(" test images")[0]
    answer = tensorpress("train", *given, many, "-o", "RUN")
    assert_one_message(answer, "holds no data; looked for")


def test_images_are_brought_to_the_size_that_a_library_says(
    many: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Usual((3, 12, 16), (0.5,) * 3, (0.5,) * 3, pretrained=False)
    monkeypatch.setattr("tensorpress.cli.inputs.read.usual_of", lambda _: own)
    named = {"net": "timm:net", "classes": None, "data": None, "mean": None, "std": None}
    for given, size in ((None, (12, 16)), ("3,8,8", (8, 8))):
        inputs = read_inputs(**named, input_shape=given, calibrate=str(many))
        images = read_calibration(str(many), 100, inputs)
        assert isinstance(images, torch.Tensor)
        assert images.shape == (24, 3, *size)
