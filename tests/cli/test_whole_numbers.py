"""Networks that begin with an embedding, by the command line."""

import importlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from command import Command
from test_bad_input import assert_one_message

import tensorpress as tp
from tensorpress import Ranks
from tensorpress.artifacts import read_manifest
from tensorpress.compression import Request
from tensorpress.report.command import repeat_compress
from tensorpress.training import TUNED_FOR, epochs_before

WORDS = """
import torch
from torch import nn

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.embedding = nn.Embedding(50, 16)
        self.wide = nn.Conv1d(16, 32, 5, padding=2)
        self.deep = nn.Conv1d(32, 32, 5, padding=2)
        self.last = nn.Linear(32, 4)

    def forward(self, words):
        x = torch.relu(self.wide(self.embedding(words).mT))
        return self.last(torch.relu(self.deep(x)).amax(2))
"""
NET = ("--net", "my_words:Words")
COMPRESS = ("compress", *NET, "--ranks", "4,4", "-o", "OUT")
SHAPE = ("--input-shape", "20")


@pytest.fixture
def words(tensorpress: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    (tmp_path / "my_words.py").write_text(WORDS)
    monkeypatch.syspath_prepend(tmp_path)
    rows = np.random.default_rng(0).integers(0, 50, (32, 20))
    np.save(tmp_path / "rows.npy", rows)
    return tensorpress


@pytest.mark.parametrize("told_by", ["option", "rows"])
def test_a_network_of_words_goes_all_the_way(words: Command, told_by: str, tmp_path: Path) -> None:
    by_rows = ("--calibrate", "rows.npy", "--no-recover")
    more = (*SHAPE, "--input-dtype", "int64") if told_by == "option" else by_rows
    assert words(*COMPRESS, *more).code == 0
    source = read_manifest(tmp_path / "OUT" / "model.tp").source
    assert (source["input_shape"], source["input_dtype"]) == ([20], "int64")
    of_file = (*NET, "--compressed", "OUT/model.tp")  # which remembers what it takes
    timed = words("bench", *of_file, "--runtimes", "torch", "--batches", "1", "--seconds", "0")
    assert timed.code == 0
    exported = words("export", *of_file, "-o", "words.onnx", "--json")
    assert {check["inputs"] for check in json.loads(exported.out)["checks"]} == {"example"}
    (taken,) = onnxruntime.InferenceSession("words.onnx").get_inputs()
    assert taken.type == "tensor(int64)"
    again = repeat_compress(Request(rank=Ranks(4, 4)), read_manifest("OUT/model.tp").source)
    assert again is not None
    assert "--input-dtype int64" in again.text
    if told_by == "rows":
        told = json.loads(words("report", "OUT", *NET, "--no-time", "--json").out)
        assert told["files"]
        int8 = ("--precision", "int8", "--calibrate", "rows.npy", "--min-agreement", "0")
        assert words("export", *of_file, "-o", "int8.onnx", *int8).code == 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            (*COMPRESS, *SHAPE),
            "the network takes whole numbers: it runs on int64.*--input-dtype int64",
        ),
        ((*COMPRESS, "--input-dtype", "int16"), "--input-dtype int16: give float32 or int64 or"),
        ((*COMPRESS, "--input-dtype", "int64", "--data", "digits"), "--data gives images, which"),
    ],
)
def test_what_is_asked_wrongly_is_told(words: Command, asked: tuple[str, ...], told: str) -> None:
    assert_one_message(words(*asked), told)


def test_a_file_of_onnx_says_itself_what_it_takes(words: Command, tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 8, 3))
    tp.export(net, tmp_path / "a.onnx", torch.zeros(1, 3, 8, 8))
    asked = ("compress", "--net", "a.onnx", "--energy", "0.5", "--input-dtype", "int64")
    assert_one_message(words(*asked), "a.onnx says itself what it takes: leave out --input-dtype")


@pytest.mark.parametrize("layout", ["channels first", "channels last"])
def test_pixels_in_whole_numbers_are_no_words(words: Command, tmp_path: Path, layout: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 3, 12, 12))
    rows = (pixels if layout == "channels first" else pixels.transpose(0, 2, 3, 1)) / 255
    np.save(tmp_path / "pixels.npy", pixels)
    np.save(tmp_path / "rows.npy", rows.astype(np.float32))
    own = ("--net", "my_nets.own:make", "--energy", "0.5", "--no-recover", "-o", "OUT")
    told = "calibration images are torch.int64: give them as the network takes them"
    assert_one_message(words("compress", *own, "--calibrate", "pixels.npy"), told)
    assert words("compress", *own, "--calibrate", "rows.npy").code == 0
    assert read_manifest("OUT/model.tp").source["input_shape"] == [3, 12, 12]


def test_what_was_fine_tuned_and_compressed_again_remembers_it(words: Command) -> None:
    own = ("--net", "my_nets.own:make")
    first = words("compress", *own, "--input-shape", "1,8,8", "--energy", "0.7", "-o", "A")
    assert first.code == 2  # of three channels
    assert words("compress", *own, "--energy", "0.7", "-o", "A").code == 0
    manifest = read_manifest("A/model.tp")
    net = tp.load("A/model.tp", into=importlib.import_module("my_nets.own").make())
    tp.save(net, "B.tp", source={**manifest.source, TUNED_FOR: 20}, account=manifest.account)
    assert words("compress", *own, "--compressed", "B.tp", "--energy", "0.6", "-o", "C").code == 0
    assert epochs_before(Path("C/model.tp")) == 20
