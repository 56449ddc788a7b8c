"""What a file keeps of a compression, and how it stores its numbers."""

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import tensorpress as tp
from tensorpress.artifacts import read_manifest
from tensorpress.surgery import MeasuredTime

FIXTURES = Path(__file__).parent / "fixtures"


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Conv2d(16, 16, 3)).eval()


TIME = {"runtime": "torch", "threads": 1, "batch": 1, "milliseconds": 1.5, "before": 2.0}


def account() -> Any:
    return tp.compress(
        net(), torch.zeros(1, 3, 8, 8), rank={"2": tp.Ranks(4, 5, 6)}, exclude=iter(["0"])
    )


def test_account_is_kept_whole(tmp_path: Path) -> None:
    result = account()
    tp.save(result, tmp_path / "net.tp")
    held = read_manifest(tmp_path / "net.tp").account
    assert held is not None
    assert held["pcr"] == result.pcr
    assert held["macs_after"] == tp.count(result.model, torch.zeros(1, 3, 8, 8)).macs
    assert held["request"]["rank"] == {"2": {"rule": "Ranks", "values": [4, 5, 6]}}
    assert held["request"]["exclude"] == ["0"]
    rows = {row["name"]: row for row in held["layers"]}
    assert rows["2"]["ranks"] == [4, 5, 6]
    assert rows["2"]["kept_energy"] == result.layers[1].kept_energy
    assert rows["0"]["decision"] == "kept: excluded"
    tp.save(result.model, tmp_path / "bare.tp")
    assert read_manifest(tmp_path / "bare.tp").account is None
    assert load_file(tmp_path / "bare.tp").keys() == load_file(tmp_path / "net.tp").keys()


def drop(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda account: account.pop(key)


def put(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda account: account.update({key: value})


def put_in_row(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda account: account["layers"][0].update({key: value})


ALTERED = {
    "a ratio is missing": drop("pcr"),
    "a ratio is a text": put("pcr", "4"),
    "a ratio is infinite": put("pcr", 1e999),
    "a count is true": put("macs_after", True),
    "a count is negative": put("params_after", -1),
    "no request": put("request", None),
    "layers by name": put("layers", {}),
    "a row is a text": put("layers", ["conv1"]),
    "a row without a kernel": lambda account: account["layers"][0].pop("kernel"),
    "a name is a list": put_in_row("name", ["0"]),
    "ranks are a text": put_in_row("ranks", "456"),
    "a rank is 0": put_in_row("ranks", [4, 0, 6]),
    "energy is a text": put_in_row("kept_energy", "much"),
    "a time is a number": put("time", 3.5),
    "a time lacks what it was measured in": put("time", {"milliseconds": 1.0, "before": 2.0}),
    "a time is negative": put("time", {**TIME, "before": -1}),
}


def test_a_measured_time_is_kept_in_files(tmp_path: Path) -> None:
    result = dataclasses.replace(account(), time=MeasuredTime(**TIME))
    tp.save(result, tmp_path / "net.tp")
    held = read_manifest(tmp_path / "net.tp")
    assert held.account is not None
    assert held.account["time"] == TIME


@pytest.mark.parametrize("alter", ALTERED.values(), ids=ALTERED)
def test_altered_accounts(alter: Callable[[dict[str, Any]], None], tmp_path: Path) -> None:
    file = tmp_path / "net.tp"
    tp.save(account(), file)
    with safe_open(file, framework="pt") as opened:
        manifest = json.loads(opened.metadata()["tensorpress"])
    alter(manifest["account"])
    save_file(load_file(file), file, {"tensorpress": json.dumps(manifest)})
    with pytest.raises(tp.TensorpressError, match=r"manifest of .*net\.tp is damaged"):
        tp.load(file, into=net())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_halves_the_file(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tp.compress(
        tp.networks.resnet20(), torch.zeros(1, 3, 32, 32), rank=tp.Energy(0.9)
    ).model
    tp.save(model, tmp_path / "whole.tp")
    tp.save(model, tmp_path / "half.tp", dtype=dtype)
    sizes = [(tmp_path / name).stat().st_size for name in ("half.tp", "whole.tp")]
    assert sizes[0] < 0.58 * sizes[1]
    loaded = tp.load(tmp_path / "half.tp", into=tp.networks.resnet20())
    for name, value in model.state_dict().items():
        held = loaded.state_dict()[name]
        assert held.dtype == value.dtype
        expected = value.to(dtype).to(value.dtype) if value.is_floating_point() else value
        assert torch.equal(held, expected)


def test_a_value_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    model = net()
    model[1].running_var[3] = 1e6
    with pytest.raises(tp.TensorpressError, match=r"'1\.running_var' holds 1e\+06.*bfloat16"):
        tp.save(model, tmp_path / "net.tp", dtype=torch.float16)
    assert not list(tmp_path.iterdir())
    tp.save(model, tmp_path / "net.tp", dtype=torch.bfloat16)
    assert tp.load(tmp_path / "net.tp", into=net())[1].running_var[3] == pytest.approx(
        1e6, rel=0.01
    )


@pytest.mark.parametrize("dtype", [torch.int8, "float16"])
def test_a_dtype_that_is_none_to_store_in(dtype: Any, tmp_path: Path) -> None:
    with pytest.raises(tp.TensorpressError, match=re.escape(f"dtype={dtype!r}")):
        tp.save(net(), tmp_path / "net.tp", dtype=dtype)


@pytest.mark.parametrize(
    ("version", "outputs"), [(1, "outputs"), (2, "outputs"), (3, "narrowed_outputs")]
)
def test_files_of_every_version_stay_readable(version: int, outputs: str) -> None:
    into = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, bias=False),
        nn.Flatten(),
        nn.Linear(72, 4),
    ).eval()
    file = FIXTURES / f"version{version}.tp"
    manifest = read_manifest(file)
    assert (manifest.version, manifest.tool) == (version, "0.1.0")
    assert (manifest.account is None) == (version == 1)
    assert bool(manifest.widths) == (version == 3)
    known = load_file(FIXTURES / "known.safetensors")
    with torch.no_grad():
        found = tp.load(file, into=into)(known["inputs"])
    torch.testing.assert_close(found, known[outputs], rtol=1e-5, atol=1e-6)


def test_numbers_that_the_network_cannot_hold(tmp_path: Path) -> None:
    net = nn.Linear(3, 4)
    nn.init.constant_(net.weight, 1e6)
    tp.save(net, tmp_path / "net.tp")
    into = nn.Linear(3, 4).half()
    before = into.weight.detach().clone()
    with pytest.raises(tp.TensorpressError, match=r"'weight' holds 1e\+06, which torch.float16"):
        tp.load(tmp_path / "net.tp", into=into)
    assert torch.equal(into.weight, before)
    wide = tp.load(tmp_path / "net.tp", into=nn.Linear(3, 4).bfloat16())
    torch.testing.assert_close(wide.weight.float(), net.weight, rtol=1e-2, atol=0)
