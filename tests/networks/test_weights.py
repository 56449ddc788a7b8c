import argparse
import datetime
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from packed import packed
from torch import Tensor, nn

from tensorpress.errors import TensorpressError
from tensorpress.networks import load_weights, resnet20, resnet32

Weights = dict[str, Tensor]


class Trained(nn.Sequential):
    def __init__(self, width: int = 4) -> None:
        super().__init__(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten())


@pytest.fixture
def weights() -> Weights:
    torch.manual_seed(1)
    net = Trained()
    net(torch.randn(8, 3, 5, 5))
    return net.state_dict()


def assert_holds(net: nn.Module, weights: Weights) -> None:
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)


def prefixed(weights: Weights, prefix: str) -> Weights:
    return {prefix + name: value for name, value in weights.items()}


CONTENTS: dict[str, Callable[[Weights], Any]] = {
    "plain": lambda w: w,
    "state_dict": lambda w: {"state_dict": w, "epoch": 3, "best": 0.9},
    "model": lambda w: {"epoch": 3, "model": w},
    "net": lambda w: {"net": w, "acc": 93.0},
    "model_state_dict": lambda w: {"model_state_dict": w, "optimizer_state_dict": {"state": {}}},
    "twice": lambda w: {"model": {"state_dict": w}},
    "data parallel": lambda w: {"state_dict": prefixed(w, "module.")},
    "compiled": lambda w: prefixed(w, "_orig_mod."),
    "compiled inside": lambda w: {f"{n[:2]}_orig_mod.{n[2:]}": v for n, v in w.items()},
    "both": lambda w: prefixed(w, "_orig_mod.module."),
    "both, turned": lambda w: prefixed(w, "module._orig_mod."),
    "lightning": lambda w: {"state_dict": prefixed(w, "model.")},
    "params": lambda w: {"params": w},
    "a part": lambda w: {"state_dict": prefixed(w, "encoder.backbone.")},
    "settings and dates": lambda w: {
        "model": w,
        "args": argparse.Namespace(lr=0.1, out=Path("runs/1")),
        "when": datetime.datetime(2026, 11, 26, 12, 30),
        "took": datetime.timedelta(hours=3),
        "best": np.float64(93.5),
        "epoch": np.int64(7),
        "history": np.arange(6.0).reshape(2, 3),
    },
    "arrays": lambda w: {name: value.numpy() for name, value in w.items()},
    "arrays of others": lambda w: {
        **{
            name: value.numpy().astype(value.numpy().dtype.newbyteorder(">"))
            for name, value in w.items()
        },
    },
    "an array of objects beside": lambda w: {
        "model": w,
        "names": np.array(["a", None], dtype=object),
    },
    "settings by a wrapper's name": lambda w: {"model": {"depth": 18}, "weights": w},
    "profiled": lambda w: {**w, "total_ops": torch.zeros(1), "0.total_params": torch.zeros(1)},
    "averaged": lambda w: {"n_averaged": torch.tensor(5), **prefixed(w, "module.")},
    "an average alone": lambda w: {"state_dict_ema": w, "epoch": 3},
    "no num_batches_tracked": lambda w: {n: v for n, v in w.items() if "batches" not in n},
}


@pytest.mark.parametrize("old_format", [False, True])
@pytest.mark.parametrize("content", CONTENTS)
def test_reads_weights_as_people_have_them(
    content: str, old_format: bool, weights: Weights, tmp_path: Path
) -> None:
    file = tmp_path / "weights.anything"
    torch.save(CONTENTS[content](weights), file, _use_new_zipfile_serialization=not old_format)
    net = Trained()
    assert load_weights(net, file) is net
    if content.startswith("no num"):
        weights["1.num_batches_tracked"] = torch.tensor(0)
    assert_holds(net, weights)


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w"])
def test_safetensors_is_told_by_content(name: str, weights: Weights, tmp_path: Path) -> None:
    safetensors.torch.save_file(prefixed(weights, "module."), tmp_path / name)
    net = Trained()
    load_weights(net, str(tmp_path / name))
    assert_holds(net, weights)


def test_torch_file_with_the_wrong_suffix(weights: Weights, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "w.safetensors")
    net = Trained()
    load_weights(net, tmp_path / "w.safetensors")
    assert_holds(net, weights)


def test_wrapped_networks_take_the_same_files(weights: Weights, tmp_path: Path) -> None:
    torch.save(weights, tmp_path / "w.pth")
    inner = Trained()
    load_weights(nn.DataParallel(inner), tmp_path / "w.pth")
    assert_holds(inner, weights)


def test_weights_take_the_dtype_of_the_network(weights: Weights, tmp_path: Path) -> None:
    torch.save({name: value.half() for name, value in weights.items()}, tmp_path / "w.pth")
    net = load_weights(Trained().double(), tmp_path / "w.pth")
    assert net[0].weight.dtype == torch.float64
    torch.testing.assert_close(net[0].weight, weights["0.weight"].half().double())


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


class Forged:
    """An array of one object at a place in memory of the file's choice."""

    def __reduce__(self) -> tuple[Any, ...]:
        return np.ndarray, ((1,), "O", b"A" * 8)


def write(name: str, weights: Weights, file: Path) -> None:
    """Make the broken file `name` of the table below."""
    bomb = RunsCode(file.with_name("exploded"))
    torch.save(weights, file)
    whole = file.read_bytes()
    match name:
        case "absent":
            file.unlink()
        case "folder":
            file.unlink()
            file.mkdir()
        case "empty":
            file.write_bytes(b"")
        case "truncated":
            file.write_bytes(whole[: len(whole) // 2])
        case "truncated old":
            torch.save(weights, file, _use_new_zipfile_serialization=False)
            file.write_bytes(file.read_bytes()[:-100])
        case "truncated safetensors":
            safetensors.torch.save_file(weights, file)
            file.write_bytes(file.read_bytes()[:-100])
        case "damaged":
            file.write_bytes(whole[:200] + bytes(200) + whole[400:])
        case "packed":
            packed(file)
        case "text":
            file.write_text("these are no weights")
        case "code":
            file.write_text("import torch\nfrom torch import nn\n\nclass Net(nn.Module): ...\n")
        case "web page":
            file.write_text("\n<!DOCTYPE html><html>404</html>")
        case "pointer":
            file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 3\n")
        case "scripted":
            torch.jit.script(nn.Linear(2, 2)).save(str(file))
        case "complex":
            torch.save({**weights, "0.weight": weights["0.weight"].to(torch.complex64)}, file)
        case "sparse":
            torch.save({**weights, "0.weight": weights["0.weight"].to_sparse()}, file)
        case "without values":
            torch.save({**weights, "0.weight": weights["0.weight"].to("meta")}, file)
        case "quantised":
            torch.save({**weights, "0.weight": weights["0.weight"].to(torch.int8)}, file)
        case "two of a kind":
            torch.save({**prefixed(weights, "a.b."), **prefixed(weights, "c.")}, file)
        case "noise":
            file.write_bytes(bytes(torch.randint(256, (5000,), dtype=torch.uint8).tolist()))
        case "odd opcode":
            with zipfile.ZipFile(file) as old, zipfile.ZipFile(f"{file}.new", "w") as new:
                for name_inside in old.namelist():
                    content = old.read(name_inside)
                    if name_inside.endswith("data.pkl"):
                        content = content[:-1] + b"\x82\x01."
                    new.writestr(name_inside, content)
            os.replace(f"{file}.new", file)
        case "bomb":
            torch.save({"state_dict": weights, "extra": bomb}, file)
        case "bomb old":
            torch.save({"extra": bomb}, file, _use_new_zipfile_serialization=False)
        case "bomb pickle 2":
            file.write_bytes(pickle.dumps(bomb, protocol=2))
        case "bomb pickle 4":
            file.write_bytes(pickle.dumps({"w": bomb}, protocol=4))
        case "bomb in an array":
            torch.save({"state_dict": weights, "log": np.array([bomb], dtype=object)}, file)
        case "forged array":
            torch.save({"state_dict": weights, "log": Forged()}, file)
        case "whole network":
            torch.save(Trained(), file)
        case "number":
            torch.save(3, file)
        case "list":
            torch.save([weights], file)
        case "no weights":
            torch.save({"epoch": 3, "lr": 0.1}, file)
        case "empty dict":
            torch.save({}, file)
        case "another network":
            torch.save(resnet20().state_dict(), file)
        case "missing":
            torch.save({n: v for n, v in weights.items() if not n.startswith("1.r")}, file)
        case "unexpected":
            torch.save({**weights, "fc.weight": torch.ones(1)}, file)
        case "shape":
            torch.save(Trained(5).state_dict(), file)
        case "no tensor":
            torch.save({**weights, "0.bias": 3.0}, file)
        case _:
            raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("absent", ["there is no weight file"]),
        ("folder", ["is a folder, not a weight file"]),
        ("empty", ["is empty"]),
        ("truncated", ["truncated or not a weight file"]),
        ("truncated old", ["truncated or not a weight file"]),
        ("truncated safetensors", ["truncated or not a weight file"]),
        ("damaged", ["truncated or not a weight file"]),
        ("packed", ["truncated or not a weight file", "data.pkl' in it is packed, as torch.save"]),
        ("text", ["truncated or not a weight file", "it begins with b'these are no weights'"]),
        ("code", ["truncated or not a weight file", "it begins with b'import torch"]),
        ("web page", ["is a web page and no weight file: download the file itself"]),
        ("pointer", ["is a pointer of Git LFS in place of the file: run git lfs pull"]),
        ("scripted", ["a network of TorchScript", "torch.save(net.state_dict(), file)"]),
        ("complex", ["1 of another kind (0.weight torch.complex64)"]),
        ("sparse", ["1 of another kind (0.weight torch.sparse_coo)"]),
        ("without values", ["1 of another kind (0.weight without values)"]),
        ("quantised", ["1 of another kind (0.weight torch.int8, as quantised ones are)"]),
        ("two of a kind", ["several networks of this kind, under a.b., c.: save the one"]),
        ("noise", ["truncated or not a weight file"]),
        ("odd opcode", ["truncated or not a weight file", "Unsupported operand 130"]),
        ("bomb", ["refused", "would run code (posix.mkdir)"]),
        ("bomb old", ["refused", "would run code (posix.mkdir)"]),
        ("bomb pickle 2", ["refused", "would run code (posix.mkdir)"]),
        ("bomb pickle 4", ["refused", "would run code (posix.mkdir)"]),
        ("bomb in an array", ["refused", "would run code"]),
        ("forged array", ["truncated or not a weight file"]),
        ("whole network", ["refused", "Trained", "torch.save(net.state_dict(), file)"]),
        ("number", ["an object of type int, not weights"]),
        ("list", ["an object of type list, not weights"]),
        ("no weights", ["no weights by name; found in it: epoch, lr"]),
        ("empty dict", ["no weights by name; found in it: nothing"]),
        ("another network", ["another network than Trained", "6 missing (0.weight, 0.bias, 1."]),
        ("missing", ["another network", "2 missing (1.running_mean, 1.running_var)"]),
        ("unexpected", ["another network", "1 unexpected (fc.weight)"]),
        ("shape", ["6 of another shape (0.weight (5, 3, 3, 3), here (4, 3, 3, 3)", ", ...)"]),
        ("no tensor", ["1 of another shape (0.bias float, here (4,))"]),
    ],
)
def test_every_failure_is_one_clear_line_and_leaves_the_network(
    name: str, messages: list[str], weights: Weights, tmp_path: Path
) -> None:
    file = tmp_path / "weights.pth"
    write(name, weights, file)
    net = Trained()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(TensorpressError) as caught:
        load_weights(net, file)
    text = str(caught.value)
    for message in messages:
        assert message in text
    assert str(file) in text
    assert "\n" not in text
    assert not (tmp_path / "exploded").exists()
    assert_holds(net, before)


def test_a_network_without_weights_is_told_from_that_of_the_file(tmp_path: Path) -> None:
    torch.save(resnet20().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(TensorpressError, match="another network than Sequential: 116 unexpected"):
        load_weights(nn.Sequential(nn.ReLU()), tmp_path / "weights.pth")


@pytest.mark.parametrize("part", ["linear", "linear and more", "inputs"])
def test_weights_of_other_classes_say_which_number_to_give(part: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    weights = resnet20(7).state_dict()
    if part == "linear and more":
        weights["conv1.weight"] = torch.zeros(7, 3, 3, 3)
    if part == "inputs":
        weights["linear.weight"] = torch.zeros(7, 65)
    torch.save(weights, file)
    with pytest.raises(TensorpressError) as caught:
        load_weights(resnet20(10), file)
    hint = "the weights are of 7 and not of 10: give num_classes=7 (--classes 7)"
    assert (hint in str(caught.value)) == (part == "linear")


def test_what_stands_beside_the_network_is_left_out_where_that_is_allowed(
    weights: Weights, tmp_path: Path
) -> None:
    """As Lightning saves the weights of a loss or of a metric beside the model's."""
    beside = {"criterion.weight": torch.ones(3), "metric.total": torch.tensor(0)}
    torch.save({"state_dict": {**beside, **prefixed(weights, "model.")}}, tmp_path / "a.ckpt")
    with pytest.raises(TensorpressError, match=r"2 unexpected \(criterion.*--allow-extra"):
        load_weights(Trained(), tmp_path / "a.ckpt")
    assert_holds(load_weights(Trained(), tmp_path / "a.ckpt", allow_extra=True), weights)


def test_what_a_module_says_of_a_failure_is_told(weights: Weights, tmp_path: Path) -> None:
    class Picky(Trained):
        def _load_from_state_dict(self, *given: Any) -> None:
            given[-1].append("no luck\nat all")

    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(TensorpressError, match=r"cannot be loaded: no luck at all$"):
        load_weights(Picky(), tmp_path / "w.pth")


def test_deeper_network_of_the_same_kind(tmp_path: Path) -> None:
    torch.save({"state_dict": prefixed(resnet20().state_dict(), "module.")}, tmp_path / "20.th")
    with pytest.raises(TensorpressError, match=r"60 missing \(layer1\.3\.conv1\.weight, .*\.\.\."):
        load_weights(resnet32(), tmp_path / "20.th")


@pytest.mark.parametrize("name", ["state_dict_ema", "ema", "params_ema", "model_ema"])
def test_the_average_is_taken_where_it_is_asked_for_and_said(
    name: str, weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    average = {key: value + 1 for key, value in weights.items()}
    torch.save({"state_dict": weights, name: {"module": average}}, tmp_path / "w.pth")
    assert_holds(load_weights(Trained(), tmp_path / "w.pth"), weights)
    assert "the weights are taken" in " ".join(capsys.readouterr().err.split())
    assert_holds(load_weights(Trained(), tmp_path / "w.pth", ema=True), average)
    assert "the average is taken" in " ".join(capsys.readouterr().err.split())
    torch.save(weights, tmp_path / "raw.pth")
    with pytest.raises(TensorpressError, match=r"holds no running average .*leave ema"):
        load_weights(Trained(), tmp_path / "raw.pth", ema=True)


def test_extra_weights_are_left_out_where_that_is_allowed_and_counted(
    weights: Weights, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({**weights, "aux.weight": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(TensorpressError, match=r"1 unexpected \(aux.weight\); allow_extra=True"):
        load_weights(Trained(), tmp_path / "w.pth")
    assert_holds(load_weights(Trained(), tmp_path / "w.pth", allow_extra=True), weights)
    assert "no place for them: 1 (aux.weight)" in " ".join(capsys.readouterr().err.split())
    del weights["0.bias"]
    torch.save({**weights, "aux.weight": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(TensorpressError, match=r"1 missing \(0.bias\)"):
        load_weights(Trained(), tmp_path / "w.pth", allow_extra=True)


class Versioned(nn.Module):
    """A layer that reads what its first version wrote at half the scale, as MNASNet does."""

    _version = 2

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))

    def _load_from_state_dict(self, state: Any, prefix: str, local: Any, *rest: Any) -> None:
        assert local["version"] in (1, 2)
        if local["version"] == 1:
            state[prefix + "scale"] = state[prefix + "scale"] * 2
        super()._load_from_state_dict(state, prefix, local, *rest)


class Whole(nn.Module):
    """A network whose version is that of a module without weights of its own, as in MNASNet."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def _load_from_state_dict(self, state: Any, prefix: str, local: Any, *rest: Any) -> None:
        if local.get("version") != 1:
            raise ValueError(f"version is {local.get('version')}")
        super()._load_from_state_dict(state, prefix, local, *rest)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_version_of_the_whole_network_is_read(wrapped: bool, tmp_path: Path) -> None:
    net = Whole()
    torch.save((nn.DataParallel(net) if wrapped else net).state_dict(), tmp_path / "w.pth")
    for fresh in (Whole(), nn.DataParallel(Whole())):
        assert_holds(load_weights(fresh, tmp_path / "w.pth"), fresh.state_dict())
    state: Any = net.state_dict()
    state._metadata[""]["version"] = 2
    torch.save(state, tmp_path / "w.pth")
    before = Whole()
    kept = {name: value.clone() for name, value in before.state_dict().items()}
    with pytest.raises(TensorpressError, match=r"w.pth cannot be loaded: version is 2$"):
        load_weights(before, tmp_path / "w.pth")
    assert_holds(before, kept)


def test_a_file_that_tells_no_versions_is_of_the_present_ones(tmp_path: Path) -> None:
    trained, file = Whole().state_dict(), tmp_path / "w.safetensors"
    safetensors.torch.save_file(trained, file)
    for fresh in (Whole(), nn.DataParallel(Whole())):
        load_weights(fresh, file)
        assert_holds(getattr(fresh, "module", fresh), trained)


def test_a_name_that_the_file_has_twice_is_not_taken_for_another(tmp_path: Path) -> None:
    state = resnet20().state_dict()
    torch.save({**state, "fc.weight": state["linear.weight"] + 1}, tmp_path / "w.pth")
    with pytest.raises(TensorpressError, match=r"1 unexpected \(fc.weight\)"):
        load_weights(resnet20(), tmp_path / "w.pth")


def test_averages_of_averages_end(weights: Weights, tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["ema"] = {"ema": content}
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(TensorpressError, match="holds no weights by name"):
        load_weights(Trained(), tmp_path / "w.pth")
    for _ in range(60):
        content = {"ema": content, "state_dict": {"ema": weights, "net": weights}}
    torch.save(content, tmp_path / "w.pth")
    assert_holds(load_weights(Trained(), tmp_path / "w.pth"), weights)


def test_an_averaged_model_takes_the_file_of_one(tmp_path: Path) -> None:
    trained = torch.optim.swa_utils.AveragedModel(Trained())
    torch.save(trained.state_dict(), tmp_path / "w.pth")
    fresh = torch.optim.swa_utils.AveragedModel(Trained())
    assert_holds(load_weights(fresh, tmp_path / "w.pth"), trained.state_dict())


def test_what_the_user_let_in_stays_let_in(weights: Weights, tmp_path: Path) -> None:
    torch.save({"state_dict": weights, "args": argparse.Namespace(a=1)}, tmp_path / "w.pth")
    with torch.serialization.safe_globals([argparse.Namespace]):
        load_weights(Trained(), tmp_path / "w.pth")
        assert torch.load(tmp_path / "w.pth")["args"].a == 1
    with pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "w.pth")


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("version", [1, 2])
def test_versions_of_modules_are_read(wrapped: bool, version: int, tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), Versioned())
    state: Any = (nn.DataParallel(net) if wrapped else net).state_dict()
    state._metadata["module.1" if wrapped else "1"]["version"] = version
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    read = load_weights(nn.Sequential(nn.Flatten(), Versioned()), tmp_path / "w.pth")
    assert read[1].scale.tolist() == [3.0 - version] * 3


def test_other_names_for_parts_of_our_networks(tmp_path: Path) -> None:
    """As torchvision and most of its kin call them."""
    trained = resnet20(shortcut="projection")
    others = {
        name.replace("shortcut", "downsample").replace("linear", "fc"): value
        for name, value in trained.state_dict().items()
    }
    assert not others.keys() >= trained.state_dict().keys()
    torch.save(others, tmp_path / "20.pt")
    assert_holds(
        load_weights(resnet20(shortcut="projection"), tmp_path / "20.pt"), trained.state_dict()
    )
    with pytest.raises(TensorpressError, match=r"unexpected \(layer2\.0\.downsample\.0"):
        load_weights(resnet20(), tmp_path / "20.pt")


@pytest.mark.skipif("TENSORPRESS_SHARED" not in os.environ, reason="needs trained weights")
@pytest.mark.parametrize("file", ["resnet20-12fca82f.th"])
def test_weights_trained_by_others(file: str) -> None:
    """Saved by DataParallel in a PyTorch that did not count batches."""
    path = Path(os.environ["TENSORPRESS_SHARED"]) / "weights" / file
    net = load_weights(resnet20(), path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    held = {name.removeprefix("module."): v for name, v in content["state_dict"].items()}
    counts = {name: v for name, v in net.state_dict().items() if "num_batches" in name}
    assert len(counts) == 19
    assert not any(counts.values())
    assert_holds(net, held | counts)


def test_a_dict_that_holds_itself_ends(tmp_path: Path) -> None:
    content: dict[str, Any] = {"epoch": 3}
    content["model"] = {"state_dict": content}
    torch.save(content, tmp_path / "round.pth")
    with pytest.raises(TensorpressError, match=r"holds no weights by name.*epoch"):
        load_weights(Trained(), tmp_path / "round.pth")
