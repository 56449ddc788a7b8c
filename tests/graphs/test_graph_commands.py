"""Other commands with an ONNX file as their network."""

import json
import shlex
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from command import Command, caller
from graph_files import one_layer, weight, write
from onnx import helper
from PIL import Image

import tensorpress as tp

node = helper.make_node


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return caller(monkeypatch, capfd)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network for digits, 1x8x8."""
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], name="one", pads=[1] * 4),
        node("Relu", ["c1"], ["r1"]),
        node("Conv", ["r1", "w2"], ["c2"], name="two", pads=[1] * 4),
        node("Relu", ["c2"], ["r2"]),
        node("GlobalAveragePool", ["r2"], ["p"]),
        node("Flatten", ["p"], ["f"]),
        node("Gemm", ["f", "wf"], ["y"], name="head"),
    ]
    weights = {
        "w1": weight("w1", 8, 1, 3, 3),
        "w2": weight("w2", 16, 8, 3, 3),
        "wf": weight("wf", 16, 10),
    }
    path = tmp_path_factory.mktemp("net") / "digits.onnx"
    return write(path, nodes, weights, inputs={"x": ("N", 1, 8, 8)})


def test_evaluate(digits: Path, command: Command) -> None:
    answer = command("evaluate", "--net", digits, "--data", "digits")
    assert answer.code == 0, answer.err
    assert "360 test images" in answer.out
    assert "params 1,384" in answer.out


def test_compress_and_bench(
    digits: Path, command: Command, tmp_path: Path, measured_once: None
) -> None:
    del measured_once
    out = tmp_path / "OUT"
    answer = command(*("compress", "--net", digits, "--data", "digits", "--energy", 0.5, "-o", out))
    assert answer.code == 0, answer.err
    assert "accuracy" in answer.out
    assert "left" not in answer.out
    told = answer.out.splitlines()[-1].removeprefix("Its time: tensorpress ")
    answer = command(
        *shlex.split(told),
        *("--seconds", 0, "--runtimes", "onnxruntime", "--batches", 1, "--no-cache"),
    )
    assert answer.code == 0, answer.err
    assert "onnxruntime" in answer.out
    answer = command("bench", "--compressed", out / "model.onnx")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    for words in (("evaluate", "--data", "digits"), ("compress", "--energy", 0.9)):
        answer = command(*words, "--compressed", out / "model.onnx")
        assert answer.code == 2
        assert answer.err.endswith("is a file of ONNX: give it as --net.\n")


def test_int8_is_chosen_written_and_evaluated(
    digits: Path, command: Command, tmp_path: Path, measured_once: None
) -> None:
    """The accuracy told is that of the file."""
    del measured_once
    out = tmp_path / "OUT"
    asked = ("--keep-output-error", 1, "--runtime", "onnxruntime", "--precisions", "int8")
    images = ("--calibrate", "digits", "--calibration-images", 64, "--data", "digits")
    how = ("--method", "ttpwt", *asked, *images)
    foreseen = command("compress", "--net", digits, *how, "--dry-run")
    assert foreseen.code == 0, foreseen.err
    answer = command("compress", "--net", digits, *how, "-o", out)
    assert answer.code == 0, answer.err
    assert "int8 everywhere" in answer.out
    account = json.loads((out / "account.json").read_text())
    assert account["precision"]["name"] == "int8"
    assert account["int8"]["layers"] == [3, 3]
    of_file = command("evaluate", "--net", out / "model.onnx", "--data", "digits")
    assert of_file.code == 0, of_file.err
    assert f"{account['acc']:.2f}" in of_file.out
    told = answer.out.splitlines()[-1].removeprefix("Its time: tensorpress ")
    timed = command(
        *shlex.split(told),
        *("--seconds", 0, "--runtimes", "onnxruntime", "--batches", 1, "--no-cache"),
    )
    assert timed.code == 0, timed.err


def test_the_result_of_another_network_is_not_written_over(
    digits: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, other = tmp_path / "OUT", tmp_path / "other.onnx"
    other.write_bytes(digits.read_bytes())
    assert command("compress", "--net", digits, "--energy", 0.5, "-o", out).code == 0
    kept = (out / "account.json").read_bytes()
    of_ours = ("--net", "resnet20", "--weights", "w.pth")
    torch.save(tp.networks.resnet20().state_dict(), tmp_path / "w.pth")
    monkeypatch.chdir(tmp_path)
    for named in (("--net", other), of_ours):
        refused = command("compress", *named, "--energy", 0.5, "-o", out)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert f"OUT holds what '{digits}' was compressed to" in refused.err
    assert (out / "account.json").read_bytes() == kept
    monkeypatch.chdir(digits.parent)
    assert command("compress", "--net", digits.name, "--energy", 0.6, "-o", out).code == 0


def test_a_graph_whose_evaluation_is_stopped_has_its_account(
    digits: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    asked = ("compress", "--net", digits, "--data", "digits", "--energy", 0.5, "-o", tmp_path / "O")
    with monkeypatch.context() as patch:
        patch.setattr("tensorpress.cli.work.compress.evaluate", stopped)
        assert command(*asked).code == 130
    assert json.loads((tmp_path / "O" / "account.json").read_text())["pcr"] > 1
    assert command(*asked).code == 0


def test_images_of_many_sizes_are_brought_to_that_of_the_graph(
    digits: Path, command: Command, tmp_path: Path
) -> None:
    for number in range(20):
        Image.effect_noise((12 + number, 20), 50).save(tmp_path / f"{number}.png")
    asked = ("compress", "--net", digits, "--energy", 0.5, "--calibrate", tmp_path, "--dry-run")
    answer = command(*asked)
    assert answer.code == 0, answer.err
    assert "images are brought to the network's size: resize 9, crop 8" in answer.err


@pytest.mark.usefixtures("measured_once")
def test_report(digits: Path, command: Command, tmp_path: Path) -> None:
    out = tmp_path / "OUT"
    asked = ("compress", "--net", digits, "--data", "digits", "--energy", 0.5, "--no-skip-output")
    answer = command(*asked, "-o", out)
    assert answer.code == 0, answer.err
    answer = command("report", out, "--batch", 2)
    assert answer.code == 0, answer.err
    page = (out / "report" / "index.html").read_text()
    account = json.loads((out / "account.json").read_text())
    assert f"{account['params_after']:,}" in page
    assert f"onnxruntime {version('onnxruntime')}, f32" in page
    assert "the output &#39;y&#39; is off by" in page
    assert f"{account['acc']:.2f} %" in page
    spectra = (out / "report" / "spectra.csv").read_text()
    assert "two" in spectra
    (out / "account.json").unlink()
    answer = command("report", out / "model.onnx")
    assert (answer.code, answer.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("suffix", [".xml", ".onnx"])
def test_export(suffix: str, digits: Path, command: Command, tmp_path: Path) -> None:
    answer = command("export", "--net", digits, "-o", tmp_path / f"net{suffix}")
    assert answer.code == 0, answer.err
    assert (tmp_path / f"net{suffix}").exists()
    if suffix == ".onnx":
        assert onnx.load(tmp_path / "net.onnx").graph.node == onnx.load(digits).graph.node


def test_export_as_what_is_traced(digits: Path, command: Command, tmp_path: Path) -> None:
    answer = command("export", "--net", digits, "-o", tmp_path / "net.pt2")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert not list(tmp_path.iterdir())


def test_explore(digits: Path, command: Command) -> None:
    answer = command(
        *("explore", "--net", digits, "--calibrate", "digits", "--calibration-images", 16),
        *("--ratios", 1.2, "--no-skip-output"),
    )
    assert answer.code == 0, answer.err
    assert "two" in answer.out


@pytest.mark.parametrize(
    "words",
    [
        ("compress", "--method", "l1", "--budget-macs", "2"),
        ("compare", "--data", "digits", "--epochs", "1", "-o", "OUT"),
        ("run", "--data", "digits", "--energy", "0.5", "-o", "OUT"),
        ("finetune", "--data", "digits", "-o", "OUT"),
    ],
)
def test_what_needs_gradients(words: tuple[str, ...], digits: Path, command: Command) -> None:
    named = "--compressed" if words[0] == "finetune" else "--net"
    answer = command(*words, named, digits)
    assert (answer.code, answer.err.count("\n")) == (2, 1)


SAID = {
    "--batch": "give example inputs of 1 (--batch 1)",
    "--planned": "plan it for 1 (--planned 1)",
}


def test_batches_that_a_file_does_not_take_are_said(
    command: Command, tmp_path: Path, measured_once: None
) -> None:
    del measured_once
    path = one_layer(tmp_path / "net.onnx", (1, 4, 6, 6))
    asked = ("bench", "--net", path, "--compressed", path, "--runtimes", "onnxruntime")
    quick = ("--seconds", 0, "--no-cache")
    answer = command(*asked, *quick)
    assert answer.code == 0, answer.err
    assert "batch 32" in answer.out
    assert "the file takes 1 at once" in answer.out
    answer = command(*asked, *quick, "--batches", "2,4")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "takes 1 at once" in answer.err
    export = ("export", "--net", path, "-o", tmp_path / "out.onnx")
    for option in ("--batch", "--planned"):
        answer = command(*export, option, 4)
        assert (answer.code, answer.err.count("\n")) == (2, 1)
        assert answer.err.endswith(f"takes 1 at once and no other number: {SAID[option]}.\n")
    assert command(*export, "--batch", 1).code == 0


def test_the_size_of_a_file_is_that_of_all_its_parts(
    command: Command, tmp_path: Path, measured_once: None
) -> None:
    del measured_once
    path = one_layer(tmp_path / "net.onnx", ("N", 64, 6, 6), 64)
    apart = tmp_path / "apart.onnx"
    onnx.save(
        onnx.load(path), apart, save_as_external_data=True, location="w.data", size_threshold=0
    )
    asked = ("--runtimes", "onnxruntime", "--batches", 1, "--seconds", 0, "--no-cache", "--json")
    answer = command("bench", "--net", path, "--compressed", apart, *asked)
    assert answer.code == 0, answer.err
    size = apart.stat().st_size + (tmp_path / "w.data").stat().st_size
    assert json.loads(answer.out)["bytes"]["file"] == size


def test_the_hint_of_a_file_with_free_sizes_runs(
    command: Command, tmp_path: Path, measured_once: None
) -> None:
    del measured_once
    path = one_layer(tmp_path / "net.onnx", ("N", 3, "h", "w"))
    refused = command("bench", "--net", path, "--compressed", path)
    assert refused.err.endswith("free: give --input-shape, such as 3,224,224.\n")
    np.save(tmp_path / "rows.npy", torch.randn(16, 3, 10, 12).numpy())
    asked = ("--energy", 0.9, "--no-skip-first", "--no-skip-output", "--no-recover")
    answer = command(
        "compress",
        "--net",
        path,
        "--calibrate",
        tmp_path / "rows.npy",
        *asked,
        "-o",
        tmp_path / "O",
    )
    assert answer.code == 0, answer.err
    told = answer.out.splitlines()[-1].removeprefix("Its time: tensorpress ")
    assert "--input-shape 3,10,12" in told
    quick = ("--seconds", 0, "--runtimes", "onnxruntime", "--batches", 1, "--no-cache")
    assert command(*shlex.split(told), *quick).code == 0
