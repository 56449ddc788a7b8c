"""Networks that begin with an embedding, by the command line."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from command import Command
from test_bad_input import assert_one_message

from tensorpress import Ranks
from tensorpress.artifacts import read_manifest
from tensorpress.compression import Request
from tensorpress.report.command import repeat_compress

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
    assert "nowhere slower" in timed.out or "SLOWER" in timed.out
    assert words("export", *of_file, "-o", "words.onnx").code == 0
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
        (
            ("compress", "--net", "a.onnx", "--input-dtype", "int64", "--budget-params", "2"),
            "a.onnx says itself what it takes|there is no file",
        ),
    ],
)
def test_what_is_asked_wrongly_is_told(words: Command, asked: tuple[str, ...], told: str) -> None:
    assert_one_message(words(*asked), told)
