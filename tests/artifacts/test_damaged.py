import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.artifacts import read_manifest
from tensorpress.artifacts.digest import digest
from tensorpress.layers.kinds import group_channels


def net(width: int = 16) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.Conv2d(width, width, 3), nn.BatchNorm2d(width), nn.Flatten()
    )


def first() -> list[nn.Module]:
    return list(net())[:3]


def last() -> list[nn.Module]:
    return list(net())[2:]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = tp.compress(net(), torch.zeros(1, 3, 8, 8), rank=tp.Ranks(4, 5, 6)).model
    tp.save(model, tmp_path / "net.tp")
    return tmp_path / "net.tp"


def manifest_of(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        content: dict[str, Any] = json.loads(opened.metadata()["tensorpress"])
    return content


def rewrite(
    file: Path,
    manifest: Any = None,
    tensors: dict[str, Tensor] | None = None,
    *,
    text: str | None = None,
) -> None:
    """The file again, with another manifest or other tensors."""
    text = json.dumps(manifest_of(file) if manifest is None else manifest) if text is None else text
    save_file(load_file(file) if tensors is None else tensors, file, {"tensorpress": text})


def assert_refused(file: Path, message: str, into: nn.Module | None = None) -> None:
    into = into or net()
    before = [(n, id(m), m.training) for n, m in into.named_modules()]
    state = {name: value.clone() for name, value in into.state_dict().items()}
    with pytest.raises(tp.TensorpressError, match=message) as caught:
        tp.load(file, into=into)
    assert file.name in str(caught.value) or "layer" in str(caught.value)
    assert [(n, id(m), m.training) for n, m in into.named_modules()] == before
    assert all(torch.equal(v, state[n]) for n, v in into.state_dict().items())


def test_the_rewritten_file_itself_is_good(file: Path) -> None:
    rewrite(file)
    assert tp.load(file, into=net())[1].ranks == (4, 5, 6)


def test_truncated_anywhere(file: Path) -> None:
    whole = file.read_bytes()
    (header,) = struct.unpack("<Q", whole[:8])
    for size in (0, 1, 7, 8, 9, header // 2, header + 7, header + 8, header + 9, len(whole) - 1):
        file.write_bytes(whole[:size])
        assert_refused(file, "damaged")


CONTENTS: dict[str, bytes] = {
    "text": b"these are no weights\n" * 50,
    "zeros": bytes(1000),
    "long header": struct.pack("<Q", 2**62) + b"{}",
    "header is no JSON": struct.pack("<Q", 8) + b"{" * 8,
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00cos\nsystem\n.",
    "trailing": b"",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_foreign_bytes(name: str, file: Path) -> None:
    file.write_bytes(CONTENTS[name] or file.read_bytes() + b"more")
    assert_refused(file, "damaged or foreign")


def test_torch_file(file: Path) -> None:
    torch.save(net().state_dict(), file)
    assert_refused(file, "damaged or foreign")


def test_plain_safetensors_are_pointed_elsewhere(file: Path) -> None:
    save_file(net().state_dict(), file)
    assert_refused(file, "no tensorpress manifest.*load_weights")


@pytest.mark.parametrize(
    ("name", "words"),
    [("missing.tp", "there is no file"), (".", "is a folder: give the file in it")],
)
def test_no_such_file(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(tp.TensorpressError, match=words):
        tp.load(tmp_path / name, into=net())
    with pytest.raises(tp.TensorpressError, match=words):
        read_manifest(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        *(("0.bias", dtype) for dtype in (torch.int8, torch.bool, torch.complex64)),
        ("2.num_batches_tracked", torch.float32),
        ("2.num_batches_tracked", torch.bool),
    ],
)
def test_tensors_of_another_kind(name: str, dtype: torch.dtype, file: Path) -> None:
    tensors, manifest = load_file(file), manifest_of(file)
    tensors[name] = tensors[name].to(dtype)
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    rewrite(file, content | {"sha256": digest(content, tensors)}, tensors)
    assert_refused(file, f"'{name}' is {dtype} there, and torch.(float32|int64) here")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.float8_e4m3fn])
def test_tensors_in_another_precision_are_taken(dtype: torch.dtype, file: Path) -> None:
    tensors, manifest = load_file(file), manifest_of(file)
    tensors["0.bias"] = tensors["0.bias"].to(dtype)
    content = {key: value for key, value in manifest.items() if key != "sha256"}
    rewrite(file, content | {"sha256": digest(content, tensors)}, tensors)
    found = tp.load(file, into=net()).state_dict()["0.bias"]
    assert torch.equal(found, tensors["0.bias"].float())


def absurdly_wide(manifest: dict[str, Any]) -> dict[str, Any]:
    """The layer as a chain of someone's own, whose middle no memory holds."""
    layer, wide = net()[1], 2**31
    assert isinstance(layer, nn.Conv2d)
    inside, outside = group_channels(layer)
    ends = ([inside, wide], [wide, wide], [wide, outside])
    parts = [{"name": f"part{n}", "channels": both, "axes": []} for n, both in enumerate(ends)]
    return manifest["layers"]["1"] | {"method": "own", "layout": parts}


MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda m: [m], "damaged"),
    "null": (lambda _: None, "damaged"),
    "a number": (lambda _: 3, "damaged"),
    "empty": (lambda _: {}, "damaged"),
    "no layers": (lambda m: m | {"layers": None}, "damaged"),
    "layers a list": (lambda m: m | {"layers": ["1"]}, "damaged"),
    "layer a list": (lambda m: m | {"layers": {"1": [4, 5, 6]}}, "damaged"),
    "aliases a list": (lambda m: m | {"aliases": ["a"]}, "damaged"),
    "alias of nothing": (lambda m: m | {"aliases": {"0.bias": "gone"}}, "tensors.*lacks"),
    "stray alias of nothing": (lambda m: m | {"aliases": {"stray": "gone"}}, "tensors.*lacks"),
    "stray alias": (lambda m: m | {"aliases": {"stray": "0.bias"}}, "1 unexpected .stray"),
    "source a list": (lambda m: m | {"source": [1]}, "damaged"),
    "no version": (lambda m: {k: v for k, v in m.items() if k != "version"}, "damaged"),
    "version in words": (lambda m: m | {"version": "1"}, "damaged"),
    "version 0": (lambda m: m | {"version": 0}, "damaged"),
    "later version": (lambda m: m | {"version": 4}, "format version 4.*upgrade"),
    "unknown method": (
        lambda m: m | {"layers": {"1": {"method": "magic", "ranks": [4, 5, 6]}}},
        "method 'magic'",
    ),
    "layer that is not there": (
        lambda m: m | {"layers": {"9": {"method": "ttpwt", "ranks": [4, 5, 6]}}},
        "another network: it has a layer '9'",
    ),
    "layer of another kind": (
        lambda m: m | {"layers": {"2": {"method": "ttpwt", "ranks": [4, 5, 6]}}},
        "'2' is factorized there, and a BatchNorm2d here",
    ),
    "a chain of absurd widths": (
        lambda m: m | {"version": 3, "layers": {"1": absurdly_wide(m)}},
        "absurd widths",
    ),
    "fewer layers": (lambda m: m | {"layers": {}}, "another network: tensors"),
    "more layers": (
        lambda m: m | {"layers": m["layers"] | {"0": {"method": "ttpwt", "ranks": [1, 1, 1]}}},
        "another network: tensors",
    ),
}


@pytest.mark.parametrize(("change", "message"), MANIFESTS.values(), ids=MANIFESTS)
def test_manifests(change: Callable[[dict[str, Any]], Any], message: str, file: Path) -> None:
    manifest = change(manifest_of(file))
    rewrite(file, text=json.dumps(manifest))
    assert_refused(file, message)


@pytest.mark.parametrize(
    ("ranks", "message"),
    [
        ([4, 5], "takes 3 ranks"),
        ([4, 5, 6, 7], "takes 3 ranks"),
        ([], "takes 3 ranks"),
        ([4, 5, 7], "tensors.*of another shape"),
        ([0, 5, 6], "damaged.*rank 0"),
        ([4, -5, 6], "damaged.*rank -5"),
        ([4, 5.0, 6], "damaged"),
        ([4, True, 6], "damaged"),
        (["4", 5, 6], "damaged"),
        ([4, None, 6], "damaged"),
        ([4, [5], 6], "damaged"),
        ("456", "damaged"),
        (456, "damaged"),
        (None, "damaged"),
        ([4, 10**9, 6], "absurd ranks"),
        ([10**30, 10**30, 10**30], "absurd ranks"),
        # Under the bound that is looked at first, and still 32 million weights: never made.
        ([2304, 2304, 2304], "absurd ranks .* would hold"),
        ([4, 90, 6], "tensors.*of another shape"),
    ],
)
def test_ranks(ranks: Any, message: str, file: Path) -> None:
    manifest = manifest_of(file)
    manifest["layers"]["1"]["ranks"] = ranks
    rewrite(file, manifest)
    assert_refused(file, message)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "\0", '{"version": 1e999}', "1" * 5000])
def test_manifest_that_is_no_json(text: str, file: Path) -> None:
    rewrite(file, text=text)
    assert_refused(file, "manifest.*damaged")


def dropped(tensors: dict[str, Tensor]) -> None:
    del tensors["1.vertical.weight"], tensors["0.bias"]


def added(tensors: dict[str, Tensor]) -> None:
    tensors["1.weight"] = torch.zeros(16, 16, 3, 3)


def reshaped(tensors: dict[str, Tensor]) -> None:
    tensors["0.weight"] = tensors["0.weight"].flatten()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dropped, r"2 missing \(0.bias, 1.vertical.weight\)"),
        (added, r"1 unexpected \(1.weight\)"),
        (reshaped, r"1 of another shape \(0.weight\)"),
    ],
)
def test_tensors(change: Callable[[dict[str, Tensor]], None], message: str, file: Path) -> None:
    tensors = load_file(file)
    change(tensors)
    rewrite(file, tensors=tensors)
    assert_refused(file, message)


def hooked() -> nn.Module:
    into = net()
    into[1].register_forward_hook(lambda *_: None)
    return into


class Noted(nn.Flatten):
    def get_extra_state(self) -> Any:
        return {"note": "x"}

    def set_extra_state(self, state: Any) -> None:
        pass


INTO: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "wider": (lambda: net(24), "another network: tensors"),
    "no bias": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, bias=False), *last()),
        "1 unexpected .1.pointwise_out.bias",
    ),
    "other kernel": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 5), *last()),
        "of another shape",
    ),
    "pointwise": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 1), *last()),
        "takes 1 ranks",
    ),
    "depthwise": (
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3, groups=16), *last()),
        "'1' is factorized there, and a Conv2d here",
    ),
    "no such layer": (lambda: nn.Sequential(nn.Conv2d(3, 16, 3)), "has a layer '1'"),
    "one layer": (lambda: nn.Conv2d(16, 16, 3), "has a layer '1'"),
    "hooked": (hooked, "layer '1' carries forward_hooks"),
    "extra state": (
        lambda: nn.Sequential(*first(), Noted()),
        "'3._extra_state'.*is a dict",
    ),
}


@pytest.mark.parametrize(("build", "message"), INTO.values(), ids=INTO)
def test_wrong_networks(build: Callable[[], nn.Module], message: str, file: Path) -> None:
    into = build()
    before = str(into)
    with pytest.raises(tp.TensorpressError, match=message):
        tp.load(file, into=into)
    assert str(into) == before


def test_network_already_compressed(file: Path) -> None:
    loaded = tp.load(file, into=net())
    assert_refused(file, "'1' is factorized there, and a Factorized here", loaded)


def test_lazy_network(file: Path) -> None:
    with pytest.raises(tp.TensorpressError, match="lazy"):
        tp.load(file, into=nn.Sequential(nn.LazyConv2d(16, 3), *list(net())[1:]))
    with pytest.raises(tp.TensorpressError, match=r"torch\.nn\.Module, not a dict"):
        tp.load(file, into={})
