import dataclasses
import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command import Command
from safetensors import safe_open

import tensorpress as tp
from tensorpress.cli.app import app
from tensorpress.cli.work import demo
from tensorpress.data.digits import load_digits
from tensorpress.files import locked
from tensorpress.surgery import Cost
from tensorpress.training import Accuracy

OPTIONS: dict[str, tuple[str, ...]] = {
    "demo": ("--epochs", "--ratio", "--seed", "--output"),
    "compress": (
        *("--net", "--weights", "--energy", "--singular-sum", "--relative-error", "--ranks"),
        *("--budget-params", "--budget-macs", "--include", "--exclude", "--no-skip-first"),
        *("--linear", "--balance", "--data", "--mean", "--std", "--input-shape", "--output"),
        *("--method", "--vbmf", "--budget-speedup", "--budget-ms", "--runtime", "--threads"),
        *("--batch", "--round-to"),
        *("--calibrate", "--calibration-images", "--no-recover", "--device"),
        *("--resize", "--crop", "--interpolation", "--workers"),
    ),
    "explore": (
        *("--net", "--weights", "--calibrate", "--calibration-images", "--ratios", "--include"),
        *("--exclude", "--no-skip-first", "--data", "--mean", "--std", "--input-shape"),
        *("--classes", "--output", "--device"),
    ),
    "evaluate": (
        *("--net", "--weights", "--compressed", "--data", "--mean", "--std", "--classes"),
        *("--input-shape", "--resize", "--crop", "--device"),
    ),
    "train": ("--net", "--data", "--epochs", "--output"),
    "finetune": (
        "--compressed",
        "--data",
        "--teacher",
        "--ema",
        "--allow-extra",
        "--epochs",
        "--output",
    ),
    "run": (
        *("--net", "--data", "--energy", "--epochs", "--seed", "--output"),
        *("--calibration-images", "--no-recover", "--vbmf", "--round-to", "--budget-speedup"),
        *("--teacher", "--temperature", "--alpha", "--follow"),
    ),
    "export": (
        *("--net", "--weights", "--compressed", "--format", "--batch", "--data", "--mean", "--std"),
        *("--input-shape", "--classes", "--output"),
    ),
    "bench": (
        *("--compressed", "--net", "--runtimes", "--batches", "--threads", "--precision"),
        *("--layers", "--seconds", "--cache", "--input-shape", "--classes", "--output"),
    ),
    "compare": (
        *("--net", "--weights", "--methods", "--budget-macs", "--data", "--calibration-images"),
        *("--teacher", "--epochs", "--lr", "--runtime", "--threads", "--batch", "--output"),
    ),
    "report": (
        *("--net", "--weights", "--input-shape", "--classes", "--layer", "--batch", "--no-time"),
        "--output",
    ),
    "doctor": ("--json",),
    "reproduce": (
        *("--data", "--weights", "--mean", "--std", "--epochs", "--teacher", "--no-control"),
        *("--seed", "--hold-back", "--device", "--compile", "--bf16", "--output"),
        *("--net", "--calibration-images", "--train-epochs", "--finetune-epochs", "--finetune-lr"),
        *("--optimizer", "--schedule", "--no-paper", "--int8"),
    ),
}


def test_every_command_is_looked_at() -> None:
    assert set(OPTIONS) == {command.name for command in app.registered_commands}


@pytest.mark.parametrize("command", OPTIONS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(command: str, flag: str, tensorpress: Command) -> None:
    answer = tensorpress(command, flag)
    assert (answer.code, answer.err) == (0, "")
    words = set(re.findall(r"--[a-z0-9-]+", answer.out))
    assert set(OPTIONS[command]) <= words
    # Every option has a help text: none is followed by nothing but its type.
    assert not re.search(r"│ --[a-z0-9-]+ +<\w+> +│", answer.out)


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_the_program_says_what_it_can_do(arguments: list[str], tensorpress: Command) -> None:
    answer = tensorpress(*arguments)
    assert answer.code == (0 if arguments else 2)
    assert all(f" {command} " in answer.out + answer.err for command in OPTIONS)
    assert "tensorpress demo" in answer.out + answer.err


def test_version(tensorpress: Command) -> None:
    assert tensorpress("--version").out == f"tensorpress {tp.__version__}\n"


def accuracy(text: str) -> list[float]:
    return [float(found) for found in re.findall(r"([\d.]+) % ±", text)]


def test_compress_then_evaluate(
    tensorpress: Command, weights: Path, cifar: Path, tmp_path: Path
) -> None:
    arguments = ["--net", "resnet20", "--weights", weights, "--data", cifar]
    normalised = ["--mean", "0.2,0.5,0.8", "--std", "0.1,0.5,0.3"]
    answer = tensorpress("compress", *arguments, *normalised, "--energy", "0.5", "-o", "a/b/OUT")
    assert (answer.code, answer.err) == (0, "")
    out = tmp_path / "a" / "b" / "OUT"
    assert sorted(p.name for p in out.iterdir()) == ["account.json", "account.txt", "model.tp"]

    facts = json.loads((out / "account.json").read_text())
    net = tp.load_weights(tp.networks.resnet20(), weights)
    result = tp.compress(net, torch.zeros(1, 3, 32, 32), rank=tp.Energy(0.5))
    assert (facts["pcr"], facts["fcr"]) == (result.pcr, result.fcr)
    assert [layer["name"] for layer in facts["layers"]] == [row.name for row in result.layers]
    assert (out / "account.txt").read_text() == f"{result}\n"
    assert answer.out.startswith(f"{result}\n")
    assert facts["images"] == 301
    before, after = accuracy(answer.out)
    assert before == pytest.approx(facts["acc_baseline"], abs=0.01)
    assert after == pytest.approx(facts["acc"], abs=0.01)
    assert before != after
    assert "on 301 test images, not fine-tuned" in answer.out
    assert "tensorpress finetune --compressed a/b/OUT/model.tp --data" in answer.out

    loaded = tp.load(out / "model.tp", into=tp.networks.resnet20())
    expected = result.model.state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in loaded.state_dict().items())

    again = tensorpress("evaluate", "--compressed", out / "model.tp", "--data", cifar)
    assert again.code == 0
    assert accuracy(again.out) == [after]
    assert f"params {result.params_after:,}, MACs {result.macs_after:,} an image" in again.out
    dense = tensorpress("evaluate", *arguments, *normalised)
    assert accuracy(dense.out) == [before]
    # The normalisation is the file's: that of the data gives another accuracy.
    imagenet = ["--mean", "0.485,0.456,0.406", "--std", "0.229,0.224,0.225"]
    otherwise = tensorpress(
        *("evaluate", "--compressed", out / "model.tp", "--data", cifar, *imagenet)
    )
    assert otherwise.code == 0
    assert accuracy(otherwise.out) != [after]

    # The same command gives the same bytes.
    first = (out / "model.tp").read_bytes()
    tensorpress("compress", *arguments, *normalised, "--energy", "0.5", "-o", "second")
    assert (tmp_path / "second" / "model.tp").read_bytes() == first


def test_network_of_ones_own(tensorpress: Command, cifar: Path, tmp_path: Path) -> None:
    own = ["--net", "my_nets.own:make"]
    answer = tensorpress(
        "compress", *own, "--input-shape", "3,16,16", "--energy", "0.5", "-o", "OUT"
    )
    assert (answer.code, answer.err) == (0, "")
    # the maps of a 16x16 image: 7x7 after the first, 5x5 after the second
    assert f"{16 * 16 * 9 * 25:,} -> " in answer.out
    assert "tensorpress finetune --net my_nets.own:make --compressed OUT/model.tp" in answer.out
    assert tp.artifacts.read_manifest(tmp_path / "OUT" / "model.tp").source == {
        "as_made": True,
        "network": "my_nets.own:make",
        "input_shape": [3, 16, 16],
    }
    done = tensorpress("evaluate", *own, "--compressed", "OUT/model.tp", "--data", cifar)
    assert done.code == 0
    assert len(accuracy(done.out)) == 1


def test_a_network_of_ones_own_gets_the_channels_of_the_images(tensorpress: Command) -> None:
    arguments = ("--net", "my_nets.own:wide", "--data", "digits", "--energy", "0.5")
    answer = tensorpress("compress", *arguments)
    assert (answer.code, answer.err) == (0, "")
    assert "Conv2d 4x1x3x3" in answer.out


def test_nothing_is_written_without_an_output(tensorpress: Command, tmp_path: Path) -> None:
    before = {path for path in tmp_path.rglob("*") if "__pycache__" not in str(path)}
    answer = tensorpress("compress", "--net", "my_nets.own:make", "--ranks", "2,3,2")
    assert answer.code == 0
    assert "Nothing was written: give -o OUT" in answer.out
    assert {path for path in tmp_path.rglob("*") if "__pycache__" not in str(path)} == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("--energy 0.5", {"2", "4"}),
        ("--energy 0.3 --no-skip-first", {"0", "2", "4"}),
        ("--singular-sum 0.4", {"2", "4"}),
        ("--relative-error 0.7", {"2", "4"}),
        ("--ranks 2,3,2 --include 4", {"4"}),
        ("--ranks 2,3,2 --exclude 4 --exclude nothing*", None),
        ("--ranks 2,3,2 --exclude 4", {"2"}),
        ("--energy 0.3 --linear --exclude 2 --balance", {"4", "7"}),
        ("--budget-params 2 --budget-macs 1.5", {"2", "4"}),
    ],
)
def test_options_reach_compress(
    arguments: str, expected: set[str] | None, tensorpress: Command, tmp_path: Path
) -> None:
    answer = tensorpress(
        "compress", "--net", "my_nets.own:make", *arguments.split(), "-o", tmp_path / "OUT"
    )
    if expected is None:
        assert answer.code == 2
        assert not (tmp_path / "OUT").exists()
        return
    facts = json.loads((tmp_path / "OUT" / "account.json").read_text())
    assert {layer["name"] for layer in facts["layers"] if layer["ranks"]} == expected
    if "budget" in arguments:
        assert facts["pcr"] >= 2
        assert facts["fcr"] >= 1.5


def in_a_shell(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tensorpress", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def test_in_a_process_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\ndef make(): return nn.Conv2d(3, 4, 3)\n"
    )
    done = in_a_shell("compress", "--net", "mine:make", "--energy", "0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: Energy(0.0)")
    assert done.stderr.count("\n") == 1
    done = in_a_shell("compress", "--net", "mine:make", "--energy", "0.5", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "kept: first convolution" in done.stdout


@pytest.mark.usefixtures("measured_once")
def test_demo(tensorpress: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load_digits()
    few = dataclasses.replace(
        whole, train=whole.train.subset(torch.arange(64)), test=whole.test.subset(torch.arange(50))
    )
    monkeypatch.setattr("tensorpress.data.load.load_digits", lambda _: few)
    monkeypatch.setattr(demo, "DATA", "digits")  # a quarter of the pixels
    monkeypatch.setattr(demo, "BATCH", 2)
    monkeypatch.setattr(demo, "FORMS", ("tucker2",))
    monkeypatch.setattr(demo, "RUNTIMES", {"torch": "PyTorch"})
    answer = tensorpress("demo", "--epochs", "1", "-o", "OUT")
    assert answer.code == 0
    assert "Traceback" not in answer.err
    for words in ("accuracy", "parameters", "MACs", "PyTorch"):
        assert words in answer.out
    for row in ("trained", "compressed"):
        assert re.search(rf"\n{row} +[0-9.]+ % +[0-9,]+ ", answer.out)
    account = json.loads((tmp_path / "OUT" / "compressed" / "account.json").read_text())
    assert account["pcr"] >= 5
    assert f"{account['pcr']:.1f} times fewer parameters" in answer.out
    assert "Accuracy on 50 test images" in answer.out
    assert (tmp_path / "OUT" / "compressed" / "report" / "index.html").exists()
    # Each step can be typed as it was printed, and files record it so.
    assert f"\n$ {account['command']}\n" in answer.out
    assert "--budget-params 5" in account["command"]


@pytest.mark.parametrize("wish", [(), ("--quiet",), ("--json",)])
def test_ctrl_c_in_a_step_of_the_demo_stops_all_of_it(
    wish: tuple[str, ...], tensorpress: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tensorpress.training.train", interrupted)
    answer = tensorpress("demo", "-o", "OUT", *wish)
    assert answer.code == 130
    assert answer.err.endswith("stopped.\n")
    assert "compress --net" not in answer.out + answer.err
    assert "error" not in answer.err


@pytest.mark.parametrize("taken", ["compressed", "compressed/report"])
def test_the_demo_refuses_before_it_trains(
    taken: str, tensorpress: Command, tmp_path: Path
) -> None:
    file = tmp_path / "OUT" / taken
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    answer = tensorpress("demo", "-o", "OUT")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert f"{taken} is a file" in answer.err
    assert not (tmp_path / "OUT" / "trained").exists()


def test_the_demo_takes_no_page_of_something_else(tensorpress: Command, tmp_path: Path) -> None:
    page = tmp_path / "OUT" / "compressed" / "report" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text("mine")
    answer = tensorpress("demo", "-o", "OUT")
    assert (answer.code, answer.out, page.read_text()) == (2, "", "mine")
    assert "is a page of something else" in answer.err


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("compress --energy 0.8", "model.tp"),
        ("compress --energy 0.8", "account.txt"),
        ("explore --calibrate digits", "explore.png"),
        ("bench --compressed SMALL/model.tp", "bench.json"),
        ("compare --data digits --methods ttpwt --budget-macs 2", "compare.png"),
        ("report SMALL", "index.html"),
        ("report SMALL", "energy.png"),
    ],
)
def test_a_folder_in_the_place_of_a_file_is_refused_before_the_work(
    arguments: str,
    name: str,
    tensorpress: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def worked(*_arguments: object, **_options: object) -> None:
        raise AssertionError

    if "SMALL" in arguments:
        (tmp_path / "SMALL").mkdir()
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 3), torch.nn.Conv2d(16, 16, 3))
        small = tp.compress(net, torch.zeros(1, 3, 8, 8), rank=tp.Energy(0.5))
        tp.save(small, tmp_path / "SMALL" / "model.tp")
    for work in ("compression.compress", "report.examine"):
        monkeypatch.setattr(f"tensorpress.{work}", worked)
    for work in ("explore.explore_network", "bench.benchmark", "compare.compare"):
        monkeypatch.setattr(f"tensorpress.cli.work.{work}", worked)
    (tmp_path / "OUT" / name).mkdir(parents=True)
    answer = tensorpress(*arguments.split(), "--net", "my_nets.own:make", "-o", "OUT")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.count("\n") == 1
    assert f"{name}: it is a folder" in answer.err


def test_what_the_demo_says_of_what_it_measured() -> None:
    times = {"torch": 0.02, "onnxruntime": 0.01}
    rows = [
        demo.Row("trained", Accuracy(355, 360), Cost(900, 8_000_000, {}), times),
        demo.Row("compressed", Accuracy(354, 360), Cost(300, 2_000_000, {}), {"torch": 0.008}),
        demo.Row(
            "int8 instead", Accuracy(355, 360), Cost(900, 8_000_000, {}), {"onnxruntime": 0.03}
        ),
    ]
    assert demo.worth(rows) == [
        "3.0 times fewer parameters, 4.0 times fewer MACs, 1.2 times as fast (ONNX Runtime before, "
        "PyTorch after, where each is fastest), -0.3 points of accuracy: before any fine-tuning, "
        "from images without labels.",
        "SLOWER: int8 instead in ONNX Runtime, 3.00 times.",
    ]


def test_a_network_of_ones_own_may_come_trained(tensorpress: Command, cifar: Path) -> None:
    rest = ["--data", str(cifar), "--energy", "0.5", "--train-epochs", "0"]
    rest += ["--finetune-epochs", "1", "-o", "RUN"]
    refused = tensorpress("run", "--net", "resnet20", *rest)
    assert refused.code == 2
    assert "untrained" in refused.err
    answer = tensorpress("run", "--net", "my_nets.own:make", *rest)
    assert (answer.code, answer.err) == (0, "")
    assert "compressed, not fine-tuned" in answer.out


def test_a_compressed_file_is_no_weight_file(tensorpress: Command, tmp_path: Path) -> None:
    net = tp.networks.resnet20()
    small = tp.compress(net, torch.zeros(1, 3, 32, 32), rank=tp.Energy(0.5)).model
    tp.save(small, tmp_path / "small.tp")
    tp.save(net, tmp_path / "dense.tp")
    arguments = ("compress", "--net", "resnet20", "--energy", "0.5", "--weights")
    answer = tensorpress(*arguments, "small.tp")
    assert answer.code == 2
    assert "evaluate, export and finetune take it as --compressed, report as RUN" in answer.err
    report = tensorpress("report", "small.tp", "--net", "resnet20", "--weights", "small.tp")
    assert "report as RUN" in report.err
    assert tensorpress(*arguments, "dense.tp").code == 0


def test_two_commands_do_not_write_to_one_folder(tensorpress: Command, tmp_path: Path) -> None:
    arguments = ["--net", "my_nets.own:make", "--input-shape", "3,12,12", "--energy", "0.5"]
    with locked(tmp_path / "OUT"):
        refused = tensorpress("compress", *arguments, "-o", "OUT")
    assert refused.code == 2
    assert "OUT is in use by a live process" in refused.err
    assert [path.name for path in (tmp_path / "OUT").iterdir()] == [".lock"]


def test_a_network_as_it_is_made_is_said_loudly(tensorpress: Command, tmp_path: Path) -> None:
    asked = ["compress", "--net", "my_nets.own:make", "--input-shape", "3,12,12", "--energy", "0.5"]
    told = "NO WEIGHTS were given (--weights): my_nets.own:make"
    assert told in tensorpress(*asked).out
    own = importlib.import_module("my_nets.own")
    torch.save(own.make().state_dict(), tmp_path / "w.pth")
    given = ("--weights", tmp_path / "w.pth")
    assert told not in tensorpress(*asked, *given).out
    kept = ["train", "--net", "my_nets.own:wide", "--data", "digits", "--epochs", "0", "-o"]
    told = told.replace("make", "wide")
    assert told in tensorpress(*kept, "RANDOM").out
    torch.save(own.wide(10, 1).state_dict(), tmp_path / "w.pth")
    assert told not in tensorpress(*kept, "KEPT", *given).out


LIBRARY = """
import types
from torch import nn
import torch

models = types.SimpleNamespace(is_model_pretrained=lambda name: True)
list_models = lambda: ["net"]
is_model = lambda name: name == "net"
get_pretrained_cfg = lambda name: types.SimpleNamespace(
    input_size=(3, 14, 14), mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), num_classes=10
)

def create_model(name, pretrained=False, num_classes=10, in_chans=3):
    torch.manual_seed(int(pretrained))
    return nn.Sequential(
        nn.Conv2d(in_chans, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )
"""


def test_a_network_of_a_library_brings_weights_size_and_normalisation(
    tensorpress: Command, tmp_path: Path, cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "timm.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "timm", None)  # what was there before stands there afterwards
    del sys.modules["timm"]
    answer = tensorpress("compress", "--net", "timm:net", "--energy", "0.5", "-o", "OUT")
    assert (answer.code, answer.err) == (0, "")
    library = importlib.import_module("timm")
    net = library.create_model("net", pretrained=True).eval()
    result = tp.compress(net, torch.zeros(1, 3, 14, 14), rank=tp.Energy(0.5))
    assert answer.out.startswith(f"{result}\n")
    source = tp.artifacts.read_manifest(tmp_path / "OUT" / "model.tp").source
    assert (source["input_shape"], source["mean"]) == ([3, 14, 14], [0.1, 0.2, 0.3])
    small = tp.load(tmp_path / "OUT" / "model.tp", into=library.create_model("net"))
    expected = result.model.state_dict()
    assert all(torch.equal(v, expected[n]) for n, v in small.state_dict().items())

    asked = ("evaluate", "--net", "timm:net", "--data", cifar)
    by_itself = accuracy(tensorpress(*asked).out)
    said = accuracy(tensorpress(*asked, "--mean", "0.1,0.2,0.3", "--std", "0.4,0.5,0.6").out)
    torch.save(net.state_dict(), tmp_path / "same.pth")
    read = accuracy(tensorpress(*asked, "--weights", tmp_path / "same.pth").out)
    assert by_itself == said == read


def test_the_result_of_another_network_is_not_written_over(
    tensorpress: Command, tmp_path: Path
) -> None:
    def asked(net: str) -> list[str]:
        return ["compress", "--net", net, "--input-shape", "3,12,12", "--energy", "0.5"]

    assert tensorpress(*asked("my_nets.own:make"), "-o", "OUT").code == 0
    written = (tmp_path / "OUT" / "model.tp").read_bytes()
    (tmp_path / "my_nets" / "others.py").write_text("from my_nets.own import make")
    refused = tensorpress(*asked("my_nets.others:make"), "-o", "OUT")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "OUT holds what 'my_nets.own:make' was compressed to" in refused.err
    assert (tmp_path / "OUT" / "model.tp").read_bytes() == written
    assert tensorpress(*asked("my_nets.own:make"), "-o", "OUT").code == 0


def test_images_of_other_classes_are_refused_before_the_work(
    tensorpress: Command, cifar: Path, tmp_path: Path
) -> None:
    (tmp_path / "my_nets" / "three.py").write_text(
        "from my_nets.own import make\n\ndef three():\n    return make(3)"
    )
    asked = ("--net", "my_nets.three:three", "--data", cifar, "--calibrate", cifar, "-o", "OUT")
    for words in (("compress", "--energy", "0.5"), ("explore",)):
        refused = tensorpress(*words, *asked)
        assert refused.code == 2
        assert refused.err.startswith("error: the network gives (2, 3) for 2 images")
        assert refused.out == ""
        assert not (tmp_path / "OUT").exists()


def test_a_run_that_trained_nothing_is_not_written_into(
    tensorpress: Command, cifar: Path, tmp_path: Path
) -> None:
    asked = ("--net", "my_nets.own:make", "--data", cifar)
    as_it_is = ("--train-epochs", 0, "--finetune-epochs", 0, "--calibration-images", 0)
    run = ("run", *asked, "--energy", "0.3", *as_it_is, "--no-teacher", "-o", "RUN")
    answer = tensorpress(*run)
    assert answer.code == 0, answer.err
    written = (tmp_path / "RUN" / "model.tp").read_bytes()
    refused = tensorpress("compress", *asked, "--energy", "0.9", "-o", "RUN")
    assert refused.err == "error: -o RUN is the folder of a training run: give another one.\n"
    assert (tmp_path / "RUN" / "model.tp").read_bytes() == written


def test_half_precision_on_request(tensorpress: Command, tmp_path: Path) -> None:
    arguments = ["--net", "my_nets.own:make", "--input-shape", "3,12,12", "--energy", "0.5"]
    assert tensorpress("compress", *arguments, "-o", "WHOLE").code == 0
    assert tensorpress("compress", *arguments, "--store-as", "bfloat16", "-o", "HALF").code == 0
    with safe_open(tmp_path / "HALF" / "model.tp", framework="pt") as file:
        names = set(file.keys())
        assert {file.get_slice(name).get_dtype() for name in names} == {"BF16"}
    refused = tensorpress("compress", *arguments, "--store-as", "int8", "-o", "OTHER")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "--store-as int8: give float16 or bfloat16" in refused.err


def test_averages_and_extra_weights_are_asked_for(
    tensorpress: Command, weights: Path, cifar: Path, tmp_path: Path
) -> None:
    net = tp.load_weights(tp.networks.resnet20(), weights)
    state = net.state_dict()
    kept = {"state_dict": {**state, "aux.w": torch.ones(2)}, "ema": state}
    torch.save(kept, tmp_path / "both files.pth")
    plain = tensorpress("evaluate", "--net", "resnet20", "--weights", weights, "--data", cifar)
    asked = [
        "evaluate",
        "--net",
        "resnet20",
        "--weights",
        tmp_path / "both files.pth",
        "--data",
        cifar,
    ]
    for option in ("--ema", "--allow-extra"):
        assert tensorpress(*asked, option).out == plain.out
    assert "1 unexpected (aux.w); allow_extra=True (--allow-extra)" in tensorpress(*asked).err
    compressing = ("compress", *asked[1:5], "--energy", "0.5", "--ema", "--allow-extra")
    next_line = tensorpress(*compressing, "-o", "MY OUT").out.splitlines()[-1]
    words = shlex.split(next_line)
    assert words[:3] == ["Next:", "tensorpress", "finetune"]
    teacher = words.index("--teacher")
    assert words[teacher + 1 : teacher + 4] == [str(asked[4]), "--ema", "--allow-extra"]
    assert words[words.index("--compressed") + 1] == "MY OUT/model.tp"
    unread = tensorpress("finetune", *words[3:5], "--data", cifar, "--ema", "-o", "RUN")
    assert (unread.code, unread.err) == (
        2,
        "error: --ema says how --teacher is read: give that too.\n",
    )
    alone = tensorpress("evaluate", "--net", "resnet20", "--ema", "--data", cifar)
    assert alone.code == 2
    assert "--weights is missing" in alone.err
