import json
import sys
from pathlib import Path

import pytest
from command import Command

from tensorpress.charts import can_plot
from tensorpress.deploy import PlanTable

pytestmark = pytest.mark.usefixtures("measured_once")


@pytest.fixture
def compressed(tensorpress: Command) -> Path:
    answer = tensorpress("compress", "--net", "my_nets.own:make", "--energy", 0.8, "-o", "out")
    assert (answer.code, answer.err) == (0, "")
    return Path("out/model.tp")


def test_it_prints_and_writes_the_rows(
    compressed: Path, tensorpress: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    answer = tensorpress(
        *("bench", "--compressed", compressed, "--net", "my_nets.own:make", "--seconds", 0),
        *("--runtimes", "torch,onnxruntime", "--batches", "1,2", "--layers", "-o", "bench"),
    )
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert sum(line.startswith("torch  ") for line in lines) == 2
    assert sum(line.startswith("onnxruntime: not measured: ") for line in lines) == 1
    assert sum("executed as" in line for line in lines) == 2
    size = compressed.stat().st_size
    assert any(line.startswith("file: ") and f"-> {size:,} bytes" in line for line in lines)
    assert lines[-2].startswith(("nowhere slower; the least is ", "SLOWER than the dense network"))
    assert lines[-1] == "written to bench"
    written = json.loads(Path("bench/bench.json").read_text())
    assert [cell["batch"] for cell in written["cells"]] == [1, 2]
    assert list(written["missing"]) == ["onnxruntime"]
    assert written["bytes"]["file"] == size < written["bytes"]["dense"]
    table = PlanTable.from_dict(written["cells"][0]["table"])
    assert str(table) in Path("bench/bench.txt").read_text()
    assert Path("bench/bench.png").exists() == can_plot()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--compressed is missing: give the model.tp that compress wrote"),
        (("--compressed", "nowhere.tp"), "nowhere.tp"),
        (("--compressed", "{}", "--batches", "1,x"), "--batches: 'x' is no number"),
        (("--compressed", "{}", "--batches", "0"), "--batches 0: give whole numbers from 1 on"),
        (("--compressed", "{}", "--batches", "1.5"), "--batches 1.5: give whole numbers"),
        (("--compressed", "{}", "--batches", "nan"), "--batches nan: give whole numbers"),
        (("--compressed", "{}", "--batches", "1,inf"), "--batches 1,inf: give whole numbers"),
        (("--compressed", "{}", "--batches", "99999999999"), "there is not enough memory"),
        (("--compressed", "{}", "--batches", ""), "--batches"),
        (("--compressed", "{}", "--threads", "-1"), "--threads -1: give whole numbers"),
        (("--compressed", "{}", "--threads", "100000"), "threads=100000: give a whole number"),
        (("--compressed", "{}", "--runtimes", "tensorrt"), "no runtime 'tensorrt'; there is:"),
        (("--compressed", "{}", "--runtimes", "torch, trt"), "no runtime 'trt'; there is:"),
        (
            ("--compressed", "{}", "--precisions", "f32,int8"),
            "int8 and --calibrate DIR go together",
        ),
        (
            ("--compressed", "{}", "--precision", "f8"),
            "precision='f8': give 'auto', 'f32', 'bf16' or 'int8'",
        ),
        (
            ("--compressed", "{}", "--precisions", "int9", "--calibrate", "digits"),
            "precision='int9': give 'auto', 'f32', 'bf16' or 'int8'",
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_one_line(
    options: tuple[str, ...], message: str, compressed: Path, tensorpress: Command
) -> None:
    named = [option.replace("{}", str(compressed)) for option in options]
    answer = tensorpress("bench", "--net", "my_nets.own:make", *named, "-o", "bench")
    assert answer.code != 0
    assert message in answer.err
    assert len(answer.err.splitlines()) == 1
    assert answer.out == ""
    assert not Path("bench").exists()
