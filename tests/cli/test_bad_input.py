import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command

import tensorpress as tp

OWN = "my_nets.own:make"


class RunsCode:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def write_inputs(folder: Path, weights: Path, cifar: Path) -> None:
    """What the cases below speak of, in the working directory."""
    (folder / "good.th").write_bytes(weights.read_bytes())
    (folder / "cut.th").write_bytes(weights.read_bytes()[:-5000])
    (folder / "text.th").write_bytes(b"these are no weights" * 9)
    (folder / "empty.th").write_bytes(b"")
    (folder / "code.th").write_bytes(pickle.dumps({"state_dict": RunsCode()}))
    torch.save({"state_dict": {"0.weight": RunsCode()}}, folder / "code.pth")
    torch.save(tp.networks.resnet32().state_dict(), folder / "other.th")
    state = tp.networks.resnet20().state_dict()
    state["layer2.1.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(state, folder / "nan.th")
    state["layer2.1.conv1.weight"][0, 0, 0, 0] = 1
    state["conv1.weight"][0] = float("inf")
    torch.save(state, folder / "inf.th")
    tp.save(tp.networks.resnet20(), folder / "plain.tp", source={"network": "resnet20"})
    tp.save(tp.networks.resnet20(), folder / "nameless.tp")
    tp.save(tp.networks.resnet20(), folder / "evil.tp", source={"network": "os:getcwd"})
    tp.save(tp.networks.resnet20(), folder / "odd.tp", source={"network": ["resnet20"]})
    tp.save(tp.networks.resnet20(), folder / "mean.tp", source={"network": "resnet20", "mean": 3})
    for name, shape in (("shape", [3, True, 32]), ("empty", [])):
        source = {"network": "resnet20", "input_shape": shape}
        tp.save(tp.networks.resnet20(), folder / f"{name}.tp", source=source)
    tp.save(
        tp.networks.resnet20(),
        folder / "many.tp",
        source={"network": "resnet20", "num_classes": 10**12},
    )
    (folder / "cut.tp").write_bytes((folder / "plain.tp").read_bytes()[:-100])
    for name in ("broken", "labels", "run"):
        (folder / name).mkdir()
    for name in ("data_batch_1.bin", "test_batch.bin"):
        content = (cifar / name).read_bytes()
        (folder / "broken" / name).write_bytes(content[:-1])
        (folder / "labels" / name).write_bytes(b"\xff" + content[1:])
    (folder / "bare").mkdir()
    (folder / "run" / "metrics.jsonl").touch()
    (folder / "file").write_text("old")


R20 = "--net resnet20"
# arguments after `compress`, without -o; what the message must say
COMPRESS: dict[str, tuple[str, str]] = {
    "several inputs": (
        "--net my_nets.own:Both --energy 0.8",
        "takes 2 inputs, img, meta, and the command line takes networks with one: .*in Python, "
        r'tp.compress\(net, {"img": ..., "meta": ...}, calibration=',
    ),
    "nothing at all": ("", "--net is missing: give one of tt_conv_cnn, .*package.module:function"),
    "no net": ("--energy 0.8", "--net is missing"),
    "no rank": (f"{R20} --weights good.th", "none of --energy, .*give one, such as --energy 0.8"),
    "two ranks": (f"{R20} --weights good.th --energy 0.8 --ranks 1,2,3", "several of --energy"),
    "rank and budget": (f"{R20} --energy 0.8 --budget-params 4", "several of --energy"),
    "unknown net": ("--net resnet57 --energy 0.8", "no network called 'resnet57'"),
    "no weights": (f"{R20} --energy 0.8", "--weights is missing.*tensorpress train"),
    "weights missing": (f"{R20} --weights gone.th --energy 0.8", "no weight file gone.th"),
    "weights a folder": (f"{R20} --weights run --energy 0.8", "run is a folder"),
    "weights empty": (f"{R20} --weights empty.th --energy 0.8", "empty.th is empty"),
    "weights cut": (f"{R20} --weights cut.th --energy 0.8", "cut.th is truncated or not a weight"),
    "weights text": (f"{R20} --weights text.th --energy 0.8", "text.th is truncated or not a"),
    "weights others": (f"{R20} --weights other.th --energy 0.8", "other.th holds the weights of"),
    "weights of other classes": (f"{R20} --weights good.th --classes 100 --energy 0.8", "another"),
    "pickled code": (f"{R20} --weights code.th --energy 0.8", "refused.*run code.*mkdir"),
    "pickled code, zip": (f"{R20} --weights code.pth --energy 0.8", "refused.*run code.*mkdir"),
    "nan": (f"{R20} --weights nan.th --energy 0.8", "layer 'layer2.1.conv1' holds NaN or inf"),
    "inf in the first": (f"{R20} --weights inf.th --energy 0.8", "layer 'conv1' holds NaN or inf"),
    "nan, own net": ("--net my_nets.own:nan --energy 0.8", "layer '2' holds NaN or inf"),
    "inf, own net": ("--net my_nets.own:inf_first --energy 0.8", "layer '0' holds NaN or inf"),
    "energy 0": (f"--net {OWN} --energy 0", r"Energy\(0.0\).*above 0 and at most 1"),
    "energy 1.5": (f"--net {OWN} --energy 1.5", r"Energy\(1.5\)"),
    "energy -1": (f"--net {OWN} --energy -1", r"Energy\(-1.0\)"),
    "energy nan": (f"--net {OWN} --energy nan", r"Energy\(nan\)"),
    "energy inf": (f"--net {OWN} --energy inf", r"Energy\(inf\)"),
    "singular sum 0": (f"--net {OWN} --singular-sum 0", r"SingularSum\(0.0\)"),
    "relative error 1": (f"--net {OWN} --relative-error 1", r"RelativeError\(1.0\)"),
    "relative error nan": (f"--net {OWN} --relative-error nan", r"RelativeError\(nan\)"),
    "ranks 0": (f"--net {OWN} --ranks 0,4,4", "whole number of at least 1"),
    "ranks -3": (f"--net {OWN} --ranks=-3,4,4", "whole number of at least 1"),
    "ranks in words": (f"--net {OWN} --ranks 3,x,4", "--ranks: 'x' is no whole number.*8,12,6"),
    "ranks 1.5": (f"--net {OWN} --ranks 3,1.5,4", "--ranks: '1.5' is no whole number"),
    "ranks too few": (f"--net {OWN} --ranks 3,4", "layer '2': .*takes 3"),
    "rule of another method": (
        f"--net {OWN} --singular-sum 0.6 --method cp",
        r"cp does not understand SingularSum\(tau=0.6\): give one of Energy, RelativeError, Ranks",
    ),
    "vbmf of ttpwt": (f"--net {OWN} --vbmf", r"ttpwt does not understand VBMF\(\)"),
    "vbmf and energy": (f"--net {OWN} --vbmf --energy 0.8", "several of --energy"),
    "budget under 1": (f"--net {OWN} --budget-params 0.5", "at least 1"),
    "budget nan": (f"--net {OWN} --budget-macs nan", "at least 1"),
    "budget out of reach": (f"--net {OWN} --budget-params 500", "PCR 500 cannot be reached"),
    "method": (f"--net {OWN} --energy 0.8 --method dct", "no method 'dct'; there is: .*ttpwt"),
    "include typo": (
        f"--net {OWN} --energy 0.8 --include conv*",
        "include 'conv[*]' fits no layer",
    ),
    "exclude typo": (f"--net {OWN} --energy 0.8 --exclude 33", "exclude '33' fits no layer"),
    "shape in words": (f"--net {OWN} --energy 0.8 --input-shape 3,a", "--input-shape: 'a' is no"),
    "shape of 0": (f"--net {OWN} --energy 0.8 --input-shape 3,0,3", "at least 1"),
    "shape too large": (f"--net {OWN} --energy 0.8 --input-shape 3,99999999,9999", "enough memory"),
    "shape too large to say": (f"--net {OWN} --energy 0.8 --input-shape 3,{10**20},3", "memory"),
    "shape too small": (f"--net {OWN} --energy 0.8 --input-shape 3,2,2", "does not run on"),
    "shape of other channels": (f"--net {OWN} --energy 0.8 --input-shape 1,32,32", "does not run"),
    "shape and data": (
        f"--net {OWN} --energy 0.8 --data DATA --input-shape 3,8,8",
        "3,32,32: leave",
    ),
    "mean without data": (f"--net {OWN} --energy 0.8 --mean 1,1,1", "give --data too"),
    "mean too short": (f"--net {OWN} --energy 0.8 --data DATA --mean 1,1", "mean has 2 values"),
    "std 0": (f"--net {OWN} --energy 0.8 --data DATA --std 1,0,1", "std must be above 0"),
    "mean nan": (f"--net {OWN} --energy 0.8 --data DATA --mean 1,nan,1", "mean must be finite"),
    "mean in words": (f"--net {OWN} --energy 0.8 --data DATA --mean a", "--mean: 'a' is no number"),
    "data missing": (f"--net {OWN} --energy 0.8 --data gone", "no folder 'gone'"),
    "data empty": (f"--net {OWN} --energy 0.8 --data bare", "bare holds no data"),
    "data a file": (f"--net {OWN} --energy 0.8 --data file", "file is a file, not a folder"),
    "data broken": (
        f"--net {OWN} --energy 0.8 --data broken",
        "no whole number of records of 3,073",
    ),
    "data labels": (f"--net {OWN} --energy 0.8 --data labels", "label 255 in record 0"),
    "data of other classes": (
        f"--net {OWN} --energy 0.8 --data DATA --classes 7",
        "10 classes: build it with that many",
    ),
    "data of other channels": (
        "--net my_nets.own:gray --energy 0.8 --data DATA",
        "does not run on",
    ),
    "no convolution": (
        "--net my_nets.own:dense --energy 0.8",
        "no convolution.*--linear|linear=True",
    ),
    "classes that are not taken": (
        "--net my_nets.own:gray --energy 0.8 --input-shape 1,28,28 --classes 3",
        "--classes 3: my_nets.own:gray has no parameter num_classes",
    ),
    "classes of a file that holds them": (
        "--net ultralytics:net.yaml --energy 0.8 --classes 3",
        "ultralytics:net.yaml holds its classes: leave out --classes 3",
    ),
    "no such module": ("--net my_nets.none:make --energy 0.8", "no module 'my_nets.none'"),
    "no such function": ("--net my_nets.own:made --energy 0.8", "no attribute 'made'"),
    "no function": ("--net my_nets.own:number --energy 0.8", "must be a function"),
    "no module": ("--net my_nets.own:nothing --energy 0.8", "must return a torch.nn.Module"),
    "function fails": ("--net my_nets.own:broken --energy 0.8", "RuntimeError: no luck"),
    "no colon": ("--net my_nets/own.py --energy 0.8", "no network called 'my_nets/own.py'"),
}


def assert_one_message(answer: Any, message: str) -> None:
    assert answer.code == 2, answer
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1
    assert "Traceback" not in answer.err + answer.out
    assert re.search(message, answer.err), answer.err


@pytest.mark.parametrize(("arguments", "message"), COMPRESS.values(), ids=COMPRESS)
def test_compress(
    arguments: str,
    message: str,
    tensorpress: Command,
    tmp_path: Path,
    inputs: Path,
    cifar: Path,
) -> None:
    for name in inputs.iterdir():
        (tmp_path / name.name).symlink_to(name)
    given = [str(cifar) if word == "DATA" else word for word in arguments.split()]
    before = sorted(tmp_path.iterdir())
    assert_one_message(tensorpress("compress", *given, "-o", "new/OUT"), message)
    assert [path for path in sorted(tmp_path.iterdir()) if path.name != "my_nets"] == [
        path for path in before if path.name != "my_nets"
    ]


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory, weights: Path, cifar: Path) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    write_inputs(folder, weights, cifar)
    return folder


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("file", "file is a file, not a folder"),
        ("file/OUT", "file is a file, not a folder"),
        ("run", "folder of a training run"),
        ("/proc/nowhere/OUT", "cannot be written"),
        ("x" * 300, "cannot be written"),
    ],
)
def test_output(output: str, message: str, tensorpress: Command, inputs: Path) -> None:
    answer = tensorpress("compress", "--net", OWN, "--energy", "0.8", "-o", inputs / output)
    assert_one_message(answer, message)
    # Said before any work is done.
    assert answer.out == ""
    assert (inputs / "file").read_text() == "old"
    assert os.listdir(inputs / "run") == ["metrics.jsonl"]


EVALUATE: dict[str, tuple[str, str]] = {
    "no data": (f"{R20} --weights good.th", "--data is missing"),
    "no net": ("--data DATA", "--net is missing"),
    "no weights": (f"{R20} --data DATA", "--weights is missing"),
    "both": (f"{R20} --weights good.th --compressed plain.tp --data DATA", "both given"),
    "missing": ("--compressed gone.tp --data DATA", "there is no file gone.tp"),
    "cut": ("--compressed cut.tp --data DATA", "damaged"),
    "weights for model": (
        "--compressed good.th --data DATA",
        "damaged or foreign; plain weights are read with load_weights or --weights",
    ),
    "model for weights": (f"{R20} --weights cut.tp --data DATA", "truncated or not a weight file"),
    "of another network": ("--compressed plain.tp --net vggnet --data DATA", "another network"),
    "other classes": ("--compressed plain.tp --classes 7 --data DATA", "another network"),
    "no name": ("--compressed nameless.tp --data DATA", "does not say.*name it with --net"),
    "code by name": ("--compressed evil.tp --data DATA", "'os:getcwd'.*name it with --net"),
    "name of a kind": ("--compressed odd.tp --data DATA", "damaged: its network is"),
    "mean of a kind": ("--compressed mean.tp --data DATA", "damaged: its mean is 3"),
    "input shape of a kind": ("--compressed shape.tp --data DATA", "damaged: its input_shape is"),
    "no input shape": ("--compressed empty.tp --data DATA", "damaged: its input_shape is"),
    "absurd classes": ("--compressed many.tp --data DATA", "damaged: its num_classes is"),
    "data broken": (f"{R20} --weights good.th --data broken", "no whole number of records"),
}


@pytest.mark.parametrize(("arguments", "message"), EVALUATE.values(), ids=EVALUATE)
def test_evaluate(
    arguments: str,
    message: str,
    tensorpress: Command,
    inputs: Path,
    cifar: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(inputs)
    given = [str(cifar) if word == "DATA" else word for word in arguments.split()]
    answer = tensorpress("evaluate", *given)
    assert_one_message(answer, message)
    assert answer.out == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("finetune --data digits -o R", "--compressed is missing"),
        ("finetune --compressed odd.tp --data digits -o R", "damaged: its network is"),
        ("finetune --compressed evil.tp --data digits -o R", "'os:getcwd'.*name it with --net"),
        ("train --net resnet20 --data digits", "-o is missing"),
        ("train --net resnet20 --data gone", "-o is missing"),
        ("run --net resnet20 --data gone --energy 0.5", "-o is missing"),
        ("reproduce table2 --data gone", "-o is missing"),
        ("reproduce table2 -o gone", "there is no folder gone: give that of an earlier run"),
        (
            "run --net resnet20 --data digits --energy 0.5 --no-teacher --alpha 1 -o R",
            "--temperature, --alpha and --follow are of a --teacher",
        ),
        ("reproduce table2 --data digits --epochs 0 -o R", "an untrained network"),
        ("finetune --compressed plain.tp --data gone", "-o is missing"),
        *(
            (f"{command} --device {device}", f"no device '{device}'")
            for command in (
                "train --net resnet20 --data gone -o R",
                "finetune --compressed plain.tp --data gone -o R",
                "run --net resnet20 --data gone --energy 0.5 -o R",
                "compress --net resnet20 --weights gone --energy 0.5 --data gone -o R",
                "explore --net resnet20 --weights gone --calibrate gone -o R",
                "evaluate --net resnet20 --weights gone --data gone",
            )
            for device in ("meta", "cuda:99", "gpu")
        ),
        (
            f"train --net resnet20 --data digits --seed {2**63} -o R",
            "seed=9223372036854775808: give",
        ),
        ("run --net resnet20 --data digits --energy 0 -o R", r"Energy\(0.0\)"),
        ("demo --epochs 1 --ratio 0.5", "0.5"),
        ("demo --epochs 1 -o file", "file"),
    ],
)
def test_other_commands(
    arguments: str,
    message: str,
    tensorpress: Command,
    inputs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(inputs)
    assert_one_message(tensorpress(*arguments.split()), message)
    assert not (inputs / "R").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("compress", "--net", OWN, "--energy", "0.8", "-o", ""), "-o"),
        (("compress", "--net", OWN, "--energy", "0.8", "--calibrate="), "--calibrate"),
        (("evaluate", "--net", OWN, "--weights", "", "--data", "digits"), "--weights"),
        (("evaluate", "--net", OWN, "--data", ""), "--data"),
        (("report", ""), "report"),
    ],
)
def test_a_variable_that_is_not_set(
    words: tuple[str, ...], named: str, tensorpress: Command, tmp_path: Path
) -> None:
    """As a path, nothing is the working directory."""
    before = sorted(tmp_path.rglob("*"))
    assert_one_message(tensorpress(*words), f"nothing after {named}: give a value")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        "bogus",
        "compress --nett x",
        "compress --energy",
        "compress --energy x --net resnet20",
        "compress --net resnet20 --energy 0.8 --classes 0",
        "compress --net resnet20 --energy 0.8 --calibration-images 15",
        "compress --net resnet20 --energy 0.8 stray",
        "demo --epochs 0",
        "demo --seed -1",
    ],
)
def test_wrong_usage(arguments: str, tensorpress: Command) -> None:
    answer = tensorpress(*arguments.split())
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.count("Error") == 1
    assert "Traceback" not in answer.err
