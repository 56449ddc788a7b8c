"""What is measured and exported once is used again, where it is still right."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from plan_nets import conv, norm
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy.feed import read_feed
from tensorpress.deploy.planning import cache
from tensorpress.deploy.planning.cache import PlanCache, default_folder, graph_key

IMAGE = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))


pytestmark = pytest.mark.usefixtures("measured_once")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.manual_seed(0)
    monkeypatch.setenv("TENSORPRESS_CACHE", str(tmp_path / "kept"))


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(conv(3, 6, 3), norm(6), nn.ReLU(), conv(6, 6, 3)).eval()


def files(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def forbid(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    def fail(*_args: Any, **_options: Any) -> None:
        raise AssertionError("not to be called")

    for name in names:
        monkeypatch.setattr(f"tensorpress.deploy.{name}", fail)


MEASURING = ("planning.plan._measure",)


def test_a_second_plan_measures_and_exports_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    first = tp.plan(net(), IMAGE, runtime="onnxruntime", threads=1)
    assert sorted(name.split("/")[0] for name in files(tmp_path / "kept")) == ["graphs", "tables"]
    forbid(monkeypatch, *MEASURING, "planning.plan.export_dense")
    second = tp.plan(net(), IMAGE, runtime="onnxruntime", threads=1)
    assert (second.table, second.choice) == (first.table, first.choice)
    assert torch.equal(second(IMAGE), first(IMAGE))
    for options in ({"threads": 2}, {"runtime": "torch"}, {"example_inputs": IMAGE[:1]}):
        given: dict[str, Any] = {"example_inputs": IMAGE, "runtime": "onnxruntime", "threads": 1}
        with pytest.raises(AssertionError):
            tp.plan(net(), **(given | options))


def test_other_weights_share_the_table_but_not_the_graph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    first = net(0)
    other = net(0)
    with torch.no_grad():
        other[3].vertical.weight *= -2
    tp.plan(first, IMAGE, runtime="onnxruntime", threads=1)
    forbid(monkeypatch, *MEASURING)
    plan = tp.plan(other, IMAGE, runtime="onnxruntime", threads=1)
    with torch.no_grad():
        torch.testing.assert_close(plan(IMAGE), other(IMAGE), rtol=1e-4, atol=1e-5)
    kept = files(tmp_path / "kept")
    assert [sum(name.startswith(kind) for name in kept) for kind in ("graphs", "tables")] == [2, 1]


def _garbage(content: bytes) -> bytes:  # noqa: ARG001
    return b"\xff{garbage"


def _other_number(content: bytes) -> bytes:
    return content[:-40] + b"0000000000" + content[-30:]


def _of_another_version(content: bytes) -> bytes:
    values = json.loads(content)
    for layer in values["layers"]:
        layer["chosen"] = [[7], 1]
        layer["seconds"].append([[7], 1, 1e-3])
        layer["seconds"].append([[1] * 7, 1, 1e-3])
    return json.dumps(values).encode()


def _without_the_dense_way(content: bytes) -> bytes:
    values = json.loads(content)
    for layer in values["layers"]:
        layer["chosen"] = [[1, 1, 1, 1], 1]
        layer["seconds"] = [way for way in layer["seconds"] if way[0] == [1, 1, 1, 1]]
    return json.dumps(values).encode()


def _in(key: str, **changed: Any) -> Callable[[bytes], bytes]:
    """Some of the values under a key changed, or taken out where they are None."""

    def change(content: bytes) -> bytes:
        values = json.loads(content)
        values[key] |= changed
        values[key] = {k: v for k, v in values[key].items() if v is not None}
        return json.dumps(values).encode()

    return change


DAMAGES: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "table cut off": ("tables", lambda content: content[:100]),
    "no table": ("tables", _garbage),
    "a list": ("tables", lambda _: b"[]"),
    "layers missing": ("tables", lambda c: json.dumps(json.loads(c) | {"layers": []}).encode()),
    "times missing": ("tables", lambda c: json.dumps(json.loads(c) | {"whole": {}}).encode()),
    "times that nothing takes": ("tables", _in("whole", plan=torch.nan)),
    "times below zero": ("tables", _in("best", plan=-1.0)),
    "setting missing": ("tables", _in("setting", version=None)),
    "another setting": ("tables", _in("setting", threads=2)),
    "another chain": ("tables", _of_another_version),
    "dense way missing": ("tables", _without_the_dense_way),
    "graph changed": ("graphs", _other_number),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_anew(damage: str, tmp_path: Path) -> None:
    kind, change = DAMAGES[damage]
    runtime = "onnxruntime" if kind == "graphs" else "torch"
    pytest.importorskip(runtime)
    expected = tp.plan(net(), IMAGE, runtime=runtime, threads=1)(IMAGE)
    (file,) = (tmp_path / "kept" / kind).iterdir()
    whole = file.read_bytes()
    file.write_bytes(change(whole))
    plan = tp.plan(net(), IMAGE, runtime=runtime, threads=1)
    torch.testing.assert_close(plan(IMAGE), expected, rtol=1e-4, atol=1e-5)
    if kind == "graphs":
        assert file.read_bytes() == whole
    else:
        assert set(json.loads(file.read_bytes())) == set(json.loads(whole))
        layers = json.loads(file.read_bytes())["layers"]
        assert [[4] in [way[0] for way in layer["seconds"]] for layer in layers] == [True, True]
        assert json.loads(file.read_bytes())["setting"] == json.loads(whole)["setting"]
        assert min(json.loads(file.read_bytes())["whole"].values()) > 0


def test_a_folder_of_ones_own_and_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tp.plan(net(), IMAGE, threads=1, cache=False)
    assert files(tmp_path) == []
    tp.plan(net(), IMAGE, threads=1, cache=tmp_path / "mine")
    assert [name.split("/")[:2] for name in files(tmp_path)] == [["mine", "tables"]]
    forbid(monkeypatch, *MEASURING)
    tp.plan(net(), IMAGE, threads=1, cache=str(tmp_path / "mine"))
    with pytest.raises(AssertionError):
        tp.plan(net(), IMAGE, threads=1, cache=False)


@pytest.mark.parametrize("place", ["/proc/nowhere", "file", "file/inside"])
def test_a_folder_that_cannot_be_written_is_no_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    plan = tp.plan(net(), IMAGE, threads=1, cache=tmp_path / place)
    PlanCache(tmp_path / place).keep_graph("key", b"graph")
    torch.testing.assert_close(plan(IMAGE), net()(IMAGE).detach(), rtol=1e-4, atol=1e-5)
    assert files(tmp_path) == ["file"]


def test_the_graphs_used_longest_ago_make_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES_OF_GRAPHS", 3000)
    kept = PlanCache(tmp_path)
    for number, key in enumerate("abc"):
        kept.keep_graph(key, bytes([number]) * 900)
        os.utime(tmp_path / "graphs" / f"{key}.onnx", (number, number))
    assert kept.graph("a") == bytes(900)  # is the one used last, now
    kept.keep_graph("d", b"d" * 900)
    assert files(tmp_path) == [f"graphs/{key}.onnx" for key in "acd"]
    kept.keep_graph("e", b"e" * 5000)
    assert files(tmp_path) == ["graphs/e.onnx"]
    assert kept.graph("e") == b"e" * 5000
    assert kept.graph("a") is None


@pytest.mark.parametrize("content", [b"", b"\n", b"abc", b"{digest}\nother"])
def test_a_damaged_graph_is_none(content: bytes, tmp_path: Path) -> None:
    kept = PlanCache(tmp_path)
    kept.keep_graph("key", b"graph")
    file = tmp_path / "graphs" / "key.onnx"
    digest = file.read_bytes().partition(b"\n")[0]
    file.write_bytes(content.replace(b"{digest}", digest))
    assert kept.graph("key") is None


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TENSORPRESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/else")
    assert default_folder() == Path("/else/tensorpress/plans")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/me")
    assert default_folder() == Path("/home/me/.cache/tensorpress/plans")


class Tuned(nn.Module):
    """Computes with all kinds of values that are in no state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3)
        self.pool = nn.AvgPool2d(3, stride=2)
        self.factor, self.plain, self._hidden = 2.0, torch.ones(1), torch.ones(1)
        self.register_buffer("kept", torch.ones(1))
        self.register_buffer("passing", torch.ones(1), persistent=False)
        self.register_buffer("narrow", torch.ones(1, dtype=torch.bfloat16))
        self.listed, self.array = {"a": [torch.ones(3000)]}, np.ones(3000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x) * self.factor + self.plain + self._hidden
        x = x + self.listed["a"][0].sum() + float(self.array.sum())
        return self.pool(x * self.kept + self.passing) + self.narrow


def _set(name: str, value: Any) -> Callable[[Any], None]:
    def change(net: Any) -> None:
        *path, last = name.split(".")
        for part in path:
            net = getattr(net, part)
        setattr(net, last, value)

    return change


@pytest.mark.parametrize(
    "change",
    [
        _set("layer.weight", nn.Parameter(torch.zeros(4, 3, 3, 3))),
        _set("pool.ceil_mode", True),
        _set("pool.count_include_pad", False),
        _set("factor", 3.0),
        *(_set(name, torch.zeros(1)) for name in ("plain", "_hidden", "kept", "passing")),
        _set("narrow", torch.full((1,), 2, dtype=torch.bfloat16)),
        _set("narrow", torch.ones(1, dtype=torch.bfloat16).view(torch.float16)),
        lambda net: net.listed["a"][0].__setitem__(1500, 2),
        lambda net: net.array.__setitem__(1500, 2),
    ],
    ids=[
        *("weight", "ceil", "pad", "float", "tensor", "private", "buffer", "non-persistent"),
        *("bfloat16", "dtype", "listed", "array"),
    ],
)
def test_whatever_a_network_computes_with_is_in_the_key_of_its_graph(
    change: Callable[[Any], None],
) -> None:
    feed = read_feed(IMAGE, dynamic_batch=True)
    keys = []
    torch.manual_seed(0)
    for made in (Tuned(), Tuned()):
        made.layer.load_state_dict({"weight": torch.ones(4, 3, 3, 3), "bias": torch.ones(4)})
        keys.append(graph_key(made, feed))
    assert keys[0] == keys[1] is not None
    change(made)
    assert graph_key(made, feed) != keys[0]


def test_the_graph_of_a_network_whose_code_cannot_be_seen_is_not_kept() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if x.sum() > 2 else x

    feed = read_feed(IMAGE, dynamic_batch=True)
    made = Loop()
    assert graph_key(made, feed) is None
