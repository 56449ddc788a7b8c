import json
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image
from test_bad_input import assert_one_message

OWN = ["explore", "--net", "my_nets.own:make"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    coarse = np.random.default_rng(1).integers(0, 256, (24, 4, 4, 3), dtype=np.uint8)
    for number, image in enumerate(coarse.repeat(8, axis=1).repeat(8, axis=2)):
        Image.fromarray(image).save(folder / f"{number}.png")
    return folder


def test_what_is_printed_and_written(
    tensorpress: Command, images: Path, cifar: Path, tmp_path: Path
) -> None:
    given = ["--calibrate", images, "--ratios", "3,1.5,2,90", "--data", cifar]
    answer = tensorpress(*OWN, *given, "-o", "a/OUT")
    assert (answer.code, answer.err) == (0, "")
    out = tmp_path / "a" / "OUT"
    assert sorted(p.name for p in out.iterdir()) == ["explore.json", "explore.png", "explore.txt"]
    text = (out / "explore.txt").read_text()
    assert answer.out.startswith(text)
    assert "training images held back, in percent" in answer.out
    with Image.open(out / "explore.png") as opened:
        assert opened.size == (1320, 540)

    found = json.loads((out / "explore.json").read_text())
    assert list(found["layers"]) == ["2", "4"]
    for options in found["layers"].values():
        assert options[0]["ranks"] is None
        assert options[0]["loss"] == 0
        assert all(option["params"] < options[0]["params"] for option in options[1:])
        assert all(option["loss"] > 0 for option in options[1:])
    assert len(found["points"]) == 3
    assert (found["original"]["pcr"], found["original"]["ranks"]) == (1, {})
    assert f"1.00  1.00  0.0000              {found['original']['score']:.2f}" in text
    assert found["beyond"] == [90]
    assert text.endswith("\nno ranks reach 90\n")
    for point, ratio in zip(found["points"], (1.5, 2, 3), strict=True):
        assert min(point["pcr"], point["fcr"]) >= ratio
        assert set(point["ranks"]) <= {"2", "4"}
        assert 0 <= point["score"] <= 100
        assert f"{point['pcr']:.2f}" in text


def test_nothing_is_written_without_an_output(
    tensorpress: Command, images: Path, tmp_path: Path
) -> None:
    given = ["--calibrate", images, "--calibration-images", "16", "--include", "4"]
    answer = tensorpress(*OWN, *given, "--ratios", "1.2")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines()[1].split()[0] == "4"
    assert "score:" not in answer.out
    assert "no ranks reach" not in answer.out
    assert [path.name for path in tmp_path.iterdir()] == ["my_nets"]


def test_a_layer_that_cannot_get_smaller_is_drawn_too(tensorpress: Command, images: Path) -> None:
    given = ["--calibrate", images, "--no-skip-first", "--ratios", "99", "-o", "OUT"]
    answer = tensorpress("explore", "--net", "my_nets.own:wide", "--classes", "10", *given)
    assert (answer.code, answer.err) == (0, "")


MISTAKES: dict[str, tuple[str, str]] = {
    "no net": ("explore --calibrate IMAGES", "--net is missing"),
    "no images": ("explore --net my_nets.own:make", "--calibrate is missing: give images without"),
    "no folder": ("explore --net my_nets.own:make --calibrate gone", "no folder 'gone'"),
    "no arrays": (
        "explore --net my_nets.own:make --calibrate gone.npy",
        "there is no file gone.npy",
    ),
    "text": ("explore --net my_nets.own:make --calibrate text.npy", "text.npy is no file of NumPy"),
    "none": ("explore --net my_nets.own:make --calibrate none.npz", "none.npz holds no arrays"),
    "few": ("explore --net my_nets.own:make --calibrate CIFAR", "at least 16 images, and 10 were"),
    "shape": (
        "explore --net my_nets.own:make --calibrate IMAGES --crop 16",
        "images of shape 3,16,16, and the network takes 3,32,32",
    ),
    "ratio": ("explore --net my_nets.own:make --calibrate IMAGES --ratios 2,0.5", "at least 1"),
    "nan": ("explore --net my_nets.own:make --calibrate IMAGES --ratios 2,nan", "at least 1"),
    "inf": ("explore --net my_nets.own:make --calibrate IMAGES --ratios inf", "at least 1"),
    "words": (
        "explore --net my_nets.own:make --calibrate IMAGES --ratios 2,x",
        "--ratios: 'x' is no number; write them like 2,4,8",
    ),
    "selector": (
        "explore --net my_nets.own:make --calibrate IMAGES --include conv",
        "include 'conv' fits no layer",
    ),
    "one layer": ("explore --net my_nets.own:wide --classes 9 --calibrate IMAGES", "no layer to"),
    "nan in a kernel": ("explore --net my_nets.own:nan --calibrate IMAGES", "NaN or inf"),
    "untrained": ("explore --net resnet20 --calibrate IMAGES", "--weights is missing"),
}


@pytest.mark.parametrize(("arguments", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(
    arguments: str, message: str, tensorpress: Command, images: Path, cifar: Path, tmp_path: Path
) -> None:
    places = {"CIFAR": str(cifar), "IMAGES": str(images)}
    (tmp_path / "text.npy").write_text("these are no numbers")
    np.savez(tmp_path / "none.npz")
    given = [places.get(word, word) for word in arguments.split()]
    answer = tensorpress(*given, "-o", "OUT")
    assert_one_message(answer, message)
    assert answer.out == ""
    assert not (tmp_path / "OUT").exists()
