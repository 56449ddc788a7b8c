import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Command
from PIL import Image

import tensorpress as tp
from tensorpress.cli import main
from tensorpress.compression import Request
from tensorpress.report.command import repeat_compress, repeat_run
from tensorpress.training import scheme

RUNS = [
    "run --net resnet20 --data digits --energy 0.7",
    "run --net resnet20 --weights W --data digits --budget-params 3.95 --budget-macs 4.2 "
    "--train-epochs 0 --finetune-epochs 8 --finetune-lr 0.03 --lr 0.02 --schedule cosine "
    "--teacher --temperature 3 --alpha 0.5 --follow 2.5 --control --seed 7 "
    "--hold-back 20 --freeze-bn",
    "run --net vggnet --data digits --ranks 4,5,6 --epochs 3 --batch-size 64 --balance --linear "
    "--no-skip-first --exclude 'layer 1.*' --exclude b --include 'a*'",
    "run --net resnet56 --data digits --relative-error 0.25 --weight-decay 0 --mean 0.5 --std 0.2",
    "run --net resnet56 --data digits --singular-sum 0.5 --paper",
    "run --net resnet56 --data digits --energy 0.5 --paper --teacher --alpha 1",
    "run --net resnet56 --data digits --energy 0.5 --paper --calibration-images 300 --no-recover",
    "run --net vggnet --data digits --energy 0.5 --no-teacher --calibration-images 0 --epochs 9",
    "run --net vggnet --data digits --energy 0.5 --optimizer adamw --lr 0.1 --epochs 2",
    "run --net resnet20 --data digits --method tucker2 --vbmf --round-to 8",
    "run --net resnet20 --data digits --budget-macs 2 --budget-speedup 1.5 --runtime openvino "
    "--threads 1 --batch 16",
    "run --net resnet20 --data digits --budget-ms 2.5",
    "train --net vggnet --data digits --epochs 7 --lr 0.01 --seed 3 --bf16",
    "train --net tt_conv_cnn --weights W --data digits --schedule cosine --hold-back 5",
    "train --net resnet20 --weights W --ema --allow-extra --data digits",
    "finetune --compressed C --data digits --epochs 4 --teacher W --alpha 1",
    "finetune --compressed C --data digits --teacher W --ema --allow-extra",
    "finetune --compressed C --data digits --lr 0.5 --batch-size 8 --freeze-bn --no-bf16",
    "finetune --compressed C --data digits --teacher W --mixup 0.4",
    "finetune --compressed C --data digits --paper",
    "finetune --compressed C --data digits --paper --teacher W --lr 0.03 --schedule cosine",
]


class Caught(BaseException):
    pass


@pytest.fixture
def config_of(
    monkeypatch: pytest.MonkeyPatch, compressed: Path, weights: Path
) -> Callable[[list[str]], dict[str, Any]]:
    """The configuration that a command line asks for; nothing is run."""

    def catch(
        _folder: Path, config: dict[str, Any], network: Any, data: Any, settings: Any, *_: Any
    ) -> None:
        asked = {
            **config,
            "network": network.fingerprint(),
            "data": data.fingerprint(),
            "processes": 1,
            **settings.as_config(),
        }
        raise Caught(json.dumps(asked))

    monkeypatch.setattr(scheme, "carry_out", catch)
    files = {"W": weights, "FILE": weights, "TEACHER": weights}
    files |= dict.fromkeys(("C", "COMPRESSED"), compressed / "model.tp")

    def call(words: list[str]) -> dict[str, Any]:
        placed = [str(files.get(word, word)) for word in words]
        monkeypatch.setattr(sys, "argv", ["tensorpress", *placed])
        with pytest.raises(Caught) as caught:
            main()
        return json.loads(str(caught.value))

    return call


@pytest.mark.parametrize("line", RUNS)
def test_the_command_of_a_run_asks_for_the_same(
    line: str, config_of: Callable[[list[str]], dict[str, Any]]
) -> None:
    words = shlex.split(line)
    config = config_of([*words, "-o", "X"])
    command = repeat_run(config, config["kind"])
    assert command is not None
    assert not command.recorded
    repeated = shlex.split(command.text)
    assert repeated[0] == "tensorpress"
    assert config_of(repeated[1:]) == config
    assert not [caveat for caveat in command.caveats if "No option" in caveat]
    assert any("SHA-256" in caveat for caveat in command.caveats) == ("W" in words or "C" in words)


def test_what_images_of_many_sizes_became_is_asked_for(
    config_of: Callable[[list[str]], dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for part in ("train", "test"):
        folder = tmp_path / "many" / part / "ant"
        folder.mkdir(parents=True)
        for side in (20, 30):
            Image.new("RGB", (side, 40)).save(folder / f"{side}.png")
    monkeypatch.chdir(tmp_path)
    given = "--data many --input-shape 3,16,24 --resize 25 --interpolation bicubic"
    config = config_of(shlex.split(f"train --net resnet20 {given} -o X"))
    assert config["data"]["framing"]["crop"] == [16, 24]
    command = repeat_run(config, "train")
    assert command is not None
    assert config_of(shlex.split(command.text)[1:]) == config


def test_what_no_option_says_is_a_caveat(
    config_of: Callable[[list[str]], dict[str, Any]],
) -> None:
    config = config_of([*shlex.split(RUNS[0]), "-o", "X"])
    config["finetune"]["momentum"] = 0.5
    config["train"]["batch_size"] = 32
    config["compression"]["rank"] = {"layer1.*": {"rule": "Energy", "tau": 0.9}}
    config["processes"] = 4
    command = repeat_run(config, "run")
    assert command is not None
    said = " ".join(command.caveats)
    for words in ("momentum = 0.5", "batch_size = 32", "only Python", "accelerate launch"):
        assert words in said


@pytest.mark.parametrize("key", ["network", "data", "train", "seed", "compression", "processes"])
def test_a_configuration_that_makes_no_sense_gives_no_command(
    key: str, config_of: Callable[[list[str]], dict[str, Any]]
) -> None:
    config = config_of([*shlex.split(RUNS[0]), "-o", "X"])
    wrongs: list[Any] = [None, [], "text", {"epochs": -1}, 10**400]
    for wrong in wrongs:
        assert repeat_run({**config, key: wrong}, "run") is None or key in ("seed", "processes")
    del config[key]
    assert repeat_run(config, "run") is None


@pytest.mark.parametrize("reading", ["", " --ema --allow-extra"])
def test_the_command_of_compress_asks_for_the_same(
    reading: str, tensorpress: Command, weights: Path
) -> None:
    state = torch.load(weights, weights_only=True)
    other = {name: torch.zeros_like(value) for name, value in state.items()}
    torch.save({"model": other, "ema": {**state, "extra": torch.ones(1)}}, "both.th")
    weights = Path("both.th") if reading else weights
    line = "compress --net resnet20 --energy 0.55 --exclude 'layer1.*' --linear --balance"
    line += reading
    first = tensorpress(*shlex.split(line), "--weights", weights, "-o", "OUT")
    assert first.code == 0
    written = json.loads(Path("OUT/account.json").read_text())
    manifest = tp.artifacts.read_manifest("OUT/model.tp")
    command = repeat_compress(Request.from_dict(written["request"]), manifest.source)
    assert command is not None
    words = [str(weights) if word == "FILE" else word for word in shlex.split(command.text)[1:]]
    assert tensorpress(*words[:-1], "AGAIN").code == 0
    assert Path("AGAIN/model.tp").read_bytes() == Path("OUT/model.tp").read_bytes()
