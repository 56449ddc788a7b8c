import importlib.metadata
import json

import pytest
import torch
from command import Command

from tensorpress.choices import RUNTIMES
from tensorpress.deploy import doctor
from tensorpress.deploy.runtimes.processor import processor


def test_it_tells_what_is_here(tensorpress: Command) -> None:
    answer = tensorpress("doctor")
    assert (answer.code, answer.err) == (0, "")
    for told in (processor(), torch.__version__, *RUNTIMES, "onnx", "pillow"):
        assert told in answer.out


def test_the_same_as_json(tensorpress: Command) -> None:
    answer = tensorpress("doctor", "--json")
    assert (answer.code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert told["torch"] == torch.__version__
    assert told["threads"] == torch.get_num_threads()
    by_name = {runtime["name"]: runtime for runtime in told["runtimes"]}
    assert tuple(by_name) == RUNTIMES
    assert by_name["torch"]["own_precision"] == "f32"
    for package in told["packages"]:
        if package["version"] is not None:
            assert package["version"] == importlib.metadata.version(package["name"])


def test_what_is_missing_is_told_with_how_it_is_installed(
    tensorpress: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_version", lambda _: None)
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda _: ['onnx>=1.19; extra == "onnx"', "torch>=2.9"]
    )
    answer = tensorpress("doctor")
    assert "not installed: pip install 'tensorpress[onnx]'" in answer.out
    assert answer.out.rstrip().splitlines()[-1].startswith("pip install ")
    assert "timm" in answer.out
