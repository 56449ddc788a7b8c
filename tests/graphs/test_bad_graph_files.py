"""Files that are damaged, or that ask for what is not in them: one line, and nothing written."""

import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from command import Command, caller
from graph_files import classifier, weight, write
from onnx import TensorProto, helper, numpy_helper

import tensorpress as tp
from tensorpress.graphs import read_graph_network

node = helper.make_node


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Command:
    return caller(monkeypatch, capfd)


def is_refused(path: Path, command: Command) -> str:
    out = path.with_name("OUT")
    answer = command("compress", "--net", path, "--energy", 0.9, "-o", out)
    assert answer.code == 2
    assert answer.err.startswith("error: ")
    assert answer.err.count("\n") == 1, answer.err
    assert not out.exists()
    return answer.err


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_truncated(share: float, tmp_path: Path, command: Command) -> None:
    path = classifier(tmp_path / "net.onnx")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    is_refused(path, command)


@pytest.mark.parametrize("content", [b"hello\n", b"PK\x03\x04", b"\x80\x04N."])
def test_no_onnx(content: bytes, tmp_path: Path, command: Command) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert "no ONNX" in is_refused(path, command)


def test_no_file(tmp_path: Path, command: Command) -> None:
    assert "no such file" in is_refused(tmp_path / "net.onnx", command)


@pytest.mark.parametrize("dims", [[2**40, 3, 3, 3], [-1, 3, 3, 3], [12, 3, 3, 4], [2**62, 2**62]])
def test_absurd_shapes(dims: list[int], tmp_path: Path, command: Command) -> None:
    path = classifier(tmp_path / "net.onnx")
    model = onnx.load(path)
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend(dims)
    onnx.save(model, path)
    assert "'w1'" in is_refused(path, command)


@pytest.mark.parametrize(
    ("location", "length", "told"),
    [
        ("../secret.bin", None, "not in its folder"),
        ("missing.bin", None, "no such file"),
        ("w.bin", 8, "does not hold the weight"),
        ("w.bin", None, "does not hold the weight"),
    ],
)
def test_weights_that_are_not_there(
    location: str, length: int | None, told: str, tmp_path: Path, command: Command
) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(10**5))
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "w.bin").write_bytes(bytes(100))
    path = classifier(folder / "net.onnx")
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    if length is not None:
        tensor.external_data.add(key="length", value=str(length))
    path.write_bytes(model.SerializeToString())
    assert told in is_refused(path, command)


def test_an_absurd_input(tmp_path: Path, command: Command) -> None:
    path = classifier(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**40
    onnx.save(model, path)
    assert "numbers at once" in is_refused(path, command)


def test_a_value_that_nothing_gives(tmp_path: Path, command: Command) -> None:
    path = classifier(tmp_path / "net.onnx")
    model = onnx.load(path)
    model.graph.node[3].input[0] = "nowhere"
    onnx.save(model, path)
    assert "'nowhere'" in is_refused(path, command)


def test_operators_that_onnx_runtime_has_not(tmp_path: Path, command: Command) -> None:
    nodes = [
        node("Conv", ["x", "w"], ["c"], name="layer"),
        node("Unheard", ["c"], ["y"], domain="some.where"),
    ]
    path = write(tmp_path / "net.onnx", nodes, {"w": weight("w", 8, 6, 3, 3)})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("some.where", 1))
    onnx.save(model, path)
    assert "Unheard" in is_refused(path, command)


def test_sizes_that_nothing_says(tmp_path: Path, command: Command) -> None:
    nodes = [node("Conv", ["x", "w"], ["y"], name="layer")]
    path = write(
        tmp_path / "net.onnx",
        nodes,
        {"w": weight("w", 8, 6, 3, 3)},
        inputs={"x": ("N", 6, "height", "width")},
    )
    assert "--input-shape" in is_refused(path, command)


def test_mutated_bytes_are_refused_or_make_a_file(tmp_path: Path) -> None:
    path = classifier(tmp_path / "net.onnx")
    whole = path.read_bytes()
    draw = random.Random(0)
    told: list[str] = []
    for _ in range(60):
        content = bytearray(whole)
        for _ in range(draw.choice([1, 3, 10])):
            content[draw.randrange(600)] = draw.randrange(256)
        path.write_bytes(content)
        try:
            read_graph_network(path)
        except tp.TensorpressError as error:
            told.append(str(error))
    assert len(told) > 20
    assert not any("\n" in message for message in told)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("images.npy", b"no array", "is no file of NumPy"),
        ("images.npz", b"PK\x03\x04", "cannot be read"),
    ],
)
def test_bad_arrays(name: str, content: bytes, told: str, tmp_path: Path, command: Command) -> None:
    path = classifier(tmp_path / "net.onnx")
    (tmp_path / name).write_bytes(content)
    answer = command("compress", "--net", path, "--energy", 0.9, "--calibrate", tmp_path / name)
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert told in answer.err


def test_arrays_are_never_unpickled(tmp_path: Path, command: Command) -> None:
    path = classifier(tmp_path / "net.onnx")
    np.save(tmp_path / "images.npy", np.array([{}], dtype=object), allow_pickle=True)
    answer = command(
        *("compress", "--net", path, "--energy", 0.9),
        *("--calibrate", tmp_path / "images.npy"),
    )
    assert answer.code == 2


def test_sparse_weights(tmp_path: Path, command: Command) -> None:
    path = classifier(tmp_path / "net.onnx")
    model = onnx.load(path)
    tensor = model.graph.initializer.pop(0)
    values = numpy_helper.from_array(np.float32([1.0, 2.0]), tensor.name)
    places = numpy_helper.from_array(np.int64([0, 5]), f"{tensor.name}/places")
    sparse = helper.make_sparse_tensor(values, places, list(tensor.dims))
    model.graph.sparse_initializer.append(sparse)
    onnx.save(model, path)
    assert "a sparse weight, which is not read: write it densely" in is_refused(path, command)
