"""Every treatment by one command, and one after the other through files."""

import html
import json
from pathlib import Path

import numpy as np
import pytest
from command import Command
from PIL import Image

from tensorpress import artifacts

NET = ("--net", "my_nets.own:make")


@pytest.mark.parametrize(
    ("method", "how"),
    [
        ("l1", ("--budget-macs", "1.5")),
        ("random", ("--budget-params", "1.3")),
        ("deep-k-means", ("--ranks", "16")),
        ("deep-k-means", ("--budget-params", "1.5")),
        ("tt-conv", ("--ranks", "4")),
        ("tt-conv-naive", ("--budget-params", "1.2")),
        ("cp", ("--ranks", "5")),
    ],
)
def test_every_kind_of_treatment_is_saved_and_treated_again(
    method: str, how: tuple[str, ...], tensorpress: Command, cifar: Path, tmp_path: Path
) -> None:
    if how[0] != "--ranks" and method in ("l1", "random"):
        pytest.importorskip("torch_pruning")
    made = tensorpress("compress", *NET, "--method", method, *how, "-o", "A")
    assert (made.code, made.err) == (0, "")
    first = json.loads((tmp_path / "A" / "account.json").read_text())
    assert first["request"]["method"] == method
    assert method in {row["method"] for row in first["layers"]}
    answer = tensorpress("evaluate", *NET, "--compressed", "A/model.tp", "--data", cifar)
    assert (answer.code, answer.err) == (0, "")

    again = tensorpress(
        "compress", *NET, "--compressed", "A/model.tp", "--ranks", "1,2,1", "-o", "B"
    )
    assert (again.code, again.err) == (0, "")
    second = json.loads((tmp_path / "B" / "account.json").read_text())
    (step,) = second["history"]
    assert step["request"] == first["request"]
    assert step["params_before"] == first["params_before"]
    in_all = first["params_before"] / second["params_after"]
    assert f"in all params {first['params_before']:,} -> {second['params_after']:,}" in again.out
    assert f"PCR {in_all:.2f}" in again.out
    answer = tensorpress("evaluate", *NET, "--compressed", "B/model.tp", "--data", cifar)
    assert (answer.code, answer.err) == (0, "")
    assert f"params {second['params_after']:,}" in answer.out

    assert artifacts.ratios_in_all(second)["pcr"] == in_all
    assert tensorpress("report", "B", *NET, "--no-time", "-o", "PAGE").code == 0
    page = html.unescape((tmp_path / "PAGE" / "index.html").read_text())
    assert "It had been compressed once before" in page
    assert f"In all PCR {in_all:.2f}" in page

    same = tensorpress("compress", *NET, "--config", "A/model.tp", "-o", "SAME")
    assert (same.code, same.err) == (0, "")
    assert (
        json.loads((tmp_path / "SAME" / "account.json").read_text())["request"] == first["request"]
    )
    assert ("start at random" in same.out) == method.startswith("tt-conv")


def test_by_gradients_with_images(tensorpress: Command, tmp_path: Path) -> None:
    pytest.importorskip("torch_pruning")
    asked = ("compress", *NET, "--method", "taylor", "--budget-macs", "1.5")
    missing = tensorpress(*asked)
    assert missing.code == 2
    assert "--calibrate" in missing.err
    assert missing.err.count("\n") == 1
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for number in range(20):
        coarse = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(coarse).save(tmp_path / "images" / f"{number}.png")
    answer = tensorpress(
        *asked,
        *("--calibrate", "images", "--no-recover", "-o", "OUT"),
    )
    assert (answer.code, answer.err) == (0, "")
    assert (tmp_path / "OUT" / "model.tp").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "l1", "--energy", "0.5"), "pruned to a budget"),
        (("--method", "deep-k-means", "--budget-macs", "2"), "saves no MACs"),
        (("--method", "tt-conv", "--budget-speedup", "2"), "tt-conv is not timed"),
        (("--method", "l1", "--budget-speedup", "2"), "pruning reaches ratios, not times"),
        (("--compressed", "nowhere.tp", "--energy", "0.5"), "there is no file nowhere.tp"),
        (("--compressed", ".", "--energy", "0.5"), ". is a folder: give the file in it, model.tp"),
        (("--config", "."), "--config . is a folder: give the account.json"),
    ],
)
def test_what_cannot_be_asked_for(
    options: tuple[str, ...], words: str, tensorpress: Command
) -> None:
    answer = tensorpress("compress", *NET, *options)
    assert answer.code == 2
    assert words in answer.err
    assert answer.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--method", "magic", "--energy", "0.5"), "no method 'magic'"),
        (("--method", "l1", "--energy", "0.5"), "pruned to a budget"),
        (("--method", "cp", "--singular-sum", "0.5"), "cp does not understand"),
        (("--method", "deep-k-means", "--budget-macs", "2"), "saves no MACs"),
        (("--method", "tt-conv", "--ranks", "4", "--calibration-images", "16"), "starts at random"),
    ],
)
def test_a_run_refuses_before_it_trains_what_could_not_be_compressed(
    options: tuple[str, ...], words: str, tensorpress: Command, tmp_path: Path
) -> None:
    answer = tensorpress("run", *NET, "--data", "digits", *options, "--epochs", "1", "-o", "RUN")
    assert answer.code == 2
    assert words in answer.err
    assert answer.err.count("\n") == 1
    assert not (tmp_path / "RUN").exists()
