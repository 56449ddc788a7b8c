"""ONNX files altered at random, bytes and parts of their graphs, and what `compress` says of them.

``python graph_mutations.py NAME FIRST LAST`` tries the seeds from FIRST up to LAST in this process
and prints a line for each: the seed, what came of it, and what was said. `outcomes` starts it
again behind a seed that ended it.
"""

import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent.parent
sys.path.append(str(TESTS / "graphs"))

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import pytest  # noqa: E402
from altered_bytes import altered  # noqa: E402
from graph_files import bodies, classifier  # noqa: E402
from onnx import AttributeProto, TensorProto, helper  # noqa: E402

from tensorpress.cli import main  # noqa: E402
from tensorpress.progress.lines import ProgressLines  # noqa: E402

MOST_MEMORY = 12 * 2**30
MOST_SECONDS = 120
NUMBERS = (-(2**40), -1, 0, 1, 2, 3, 7, 2**31, 2**62)
OPERATORS = (
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Relu", "Add", "Softmax", "Identity", "Reshape"),
    *("If", "Loop", "Constant", "Resize", "QLinearConv", "DequantizeLinear", "Unheard", ""),
)
TYPES = (0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 16, 22, 99)
Draw = random.Random


def alter_bytes(content: bytes, draw: Draw) -> bytes:
    """Alter some bytes, as often where no weights are."""
    return altered(content, draw, head=600)


def alter_graph(content: bytes, draw: Draw) -> bytes:
    """Change a few parts of a graph, which stays a message of the format."""
    model = onnx.load_model_from_string(content)
    for _ in range(draw.choice([1, 1, 2, 4])):
        draw.choice(ALTERATIONS)(model, draw)
    return bytes(model.SerializeToString())


def _node(model: Any, draw: Draw) -> Any:
    if not model.graph.node:
        model.graph.node.append(helper.make_node("Relu", ["x"], ["lonely"]))
    return draw.choice(model.graph.node)


def _tensor(model: Any, draw: Draw) -> Any:
    if not model.graph.initializer:
        model.graph.initializer.append(TensorProto(name="empty"))
    return draw.choice(model.graph.initializer)


def _names(model: Any) -> list[str]:
    found = [name for node in model.graph.node for name in (*node.input, *node.output)]
    return [*found, *(tensor.name for tensor in model.graph.initializer), "", "nowhere", "x\ny"]


def _operator(model: Any, draw: Draw) -> None:
    _node(model, draw).op_type = draw.choice(OPERATORS)


def _read(model: Any, draw: Draw) -> None:
    node = _node(model, draw)
    if node.input and draw.random() < 0.8:
        node.input[draw.randrange(len(node.input))] = draw.choice(_names(model))
    else:
        node.input.append(draw.choice(_names(model)))


def _given(model: Any, draw: Draw) -> None:
    node = _node(model, draw)
    if node.output and draw.random() < 0.8:
        node.output[draw.randrange(len(node.output))] = draw.choice(_names(model))
    else:
        node.output.append(draw.choice(_names(model)))


def _gone(model: Any, draw: Draw) -> None:
    parts = draw.choice(
        [model.graph.node, model.graph.initializer, model.graph.input, model.graph.output]
    )
    if parts:
        del parts[draw.randrange(len(parts))]


def _twice(model: Any, draw: Draw) -> None:
    parts = draw.choice([model.graph.node, model.graph.initializer, model.graph.output])
    if parts:
        parts.add().CopyFrom(draw.choice(parts))


def _moved(model: Any, draw: Draw) -> None:
    node = _node(model, draw)
    kept = type(node)()
    kept.CopyFrom(node)
    del model.graph.node[draw.randrange(len(model.graph.node))]
    model.graph.node.add().CopyFrom(kept)


def _sizes(model: Any, draw: Draw) -> None:
    dims = _tensor(model, draw).dims
    if dims and draw.random() < 0.7:
        dims[draw.randrange(len(dims))] = draw.choice(NUMBERS)
    elif dims and draw.random() < 0.5:
        del dims[-1]
    else:
        dims.append(draw.choice(NUMBERS))


def _type(model: Any, draw: Draw) -> None:
    _tensor(model, draw).data_type = draw.choice(TYPES)


def _outside(model: Any, draw: Draw) -> None:
    tensor = _tensor(model, draw)
    tensor.data_location = TensorProto.EXTERNAL
    place = draw.choice(["net.onnx", "../net.onnx", "/etc/hostname", "gone", ".", ""])
    tensor.external_data.add(key="location", value=place)
    if draw.random() < 0.5:
        tensor.external_data.add(key="offset", value=str(draw.choice([*NUMBERS, "many"])))


def _attribute(model: Any, draw: Draw) -> None:
    node = _node(model, draw)
    if node.attribute and draw.random() < 0.7:
        attribute = draw.choice(node.attribute)
        if attribute.ints:
            attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(NUMBERS)
        attribute.i = draw.choice(NUMBERS)
        if draw.random() < 0.2:
            attribute.type = draw.choice([0, 1, 2, 3, 4, 5, 7])
        if draw.random() < 0.2:
            attribute.name = draw.choice(["kernel_shape", "group", "pads", "axis", ""])
        return
    name = draw.choice(["pads", "strides", "dilations", "kernel_shape", "group", "auto_pad"])
    one, several = draw.choice(NUMBERS), [draw.choice(NUMBERS) for _ in range(draw.randrange(5))]
    value = "SAME_NEITHER" if name == "auto_pad" else one if name == "group" else several
    kind = AttributeProto.INTS if value is several else None
    node.attribute.append(helper.make_attribute(name, value, attr_type=kind))


def _input(model: Any, draw: Draw) -> None:
    parts = [*model.graph.input, *model.graph.output]
    if not parts:
        return
    kind = draw.choice(parts).type.tensor_type
    if kind.shape.dim and draw.random() < 0.7:
        size = draw.choice(kind.shape.dim)
        size.dim_value = draw.choice(NUMBERS)
    elif draw.random() < 0.5:
        kind.elem_type = draw.choice(TYPES)
    else:
        kind.shape.dim.add(dim_param=draw.choice(["N", "", "x\ny"]))


def _versions(model: Any, draw: Draw) -> None:
    if model.opset_import and draw.random() < 0.6:
        model.opset_import[0].version = draw.choice([*NUMBERS, 6, 10, 13, 26])
    elif draw.random() < 0.5:
        del model.opset_import[:]
    else:
        model.ir_version = draw.choice([0, 1, 3, 99, 2**40])


def _name(model: Any, draw: Draw) -> None:
    part = draw.choice([_node, _tensor])(model, draw)
    part.name = draw.choice([*_names(model), "structure", "forward", "a" * 5000, "é"])


def _values(model: Any, draw: Draw) -> None:
    tensor = _tensor(model, draw)
    kind = draw.choice(["nan", "zero", "short", "none", "floats"])
    if kind == "nan":
        tensor.raw_data = b"\xff" * len(tensor.raw_data)
    elif kind == "zero":
        tensor.raw_data = bytes(len(tensor.raw_data))
    elif kind == "short":
        tensor.raw_data = tensor.raw_data[:-1]
    elif kind == "none":
        tensor.ClearField("raw_data")
    else:
        tensor.float_data.extend([1.0, 2.0])


ALTERATIONS: tuple[Callable[[Any, Draw], None], ...] = (
    *(_operator, _read, _given, _gone, _twice, _moved, _sizes, _type, _outside, _attribute),
    *(_input, _versions, _name, _values),
)
NAMED: dict[str, Callable[[bytes, Draw], bytes]] = {"bytes": alter_bytes, "graph": alter_graph}


def good_files(folder: Path) -> list[bytes]:
    """A classifier of an old and of a new opset, and a graph with bodies and quantised parts."""
    made = [
        classifier(folder / "new.onnx"),
        classifier(folder / "old.onnx", opset=11, batch=2),
        bodies(folder / "bodies.onnx"),
    ]
    return [path.read_bytes() for path in made]


def came_of(content: bytes, folder: Path) -> tuple[str, str]:
    """What `compress` makes of a file with this content, and what it says.

    "refused" is one line, exit code 2 and nothing written; "survived" a file that ONNX Runtime
    takes, whose outputs were compared before it took its place; "lost" all else.
    """
    path, out = folder / "net.onnx", folder / "OUT"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    path.write_bytes(content)
    before = set(folder.iterdir())
    code, said = _called("compress", "--net", path, "--energy", "0.9", "-o", out)
    is_clean = set(folder.iterdir()) == before
    if code == 2 and said.startswith("error: ") and said.count("\n") == 1 and is_clean:
        return "refused", said
    if code == 0 and not said:
        onnxruntime.InferenceSession(out / "model.onnx", options)
        shutil.rmtree(out)
        return "survived", ""
    shutil.rmtree(out, ignore_errors=True)
    return "lost", f"exit code {code}: {said}" + ("" if is_clean else " and something was left")


def _called(*words: object) -> tuple[Any, str]:
    """The exit code of a command in this process, and all that came on its standard error."""
    with tempfile.TemporaryFile() as heard, open(os.devnull, "w") as nothing:
        own = os.dup(2)
        os.dup2(heard.fileno(), 2)
        try:
            with (
                open(os.dup(heard.fileno()), "w") as errors,
                contextlib.redirect_stdout(nothing),
                contextlib.redirect_stderr(errors),
            ):
                sys.argv = ["tensorpress", *map(str, words)]
                code: Any = 0
                try:
                    main()
                except SystemExit as stopped:
                    code = stopped.code or 0
                except BaseException as error:  # what is told below
                    code = repr(error)[:300]
        finally:
            os.dup2(own, 2)
            os.close(own)
        heard.seek(0)
        return code, heard.read().decode(errors="replace")


def outcomes(name: str, seeds: range) -> Counter[str]:
    """What came of altered files, in processes of their own; what is lost is told."""
    counts: Counter[str] = Counter()
    first = seeds.start
    while first < seeds.stop:
        seed = first - 1
        for seed, what, said in _tried(name, first, seeds.stop):
            counts[what] += 1
            if what == "lost":
                print(f"lost, {name}, seed {seed}: {said}", file=sys.stderr)
        first = seed + 1
        if first < seeds.stop:
            print(f"lost, {name}, seed {first}: it ended the process", file=sys.stderr)
            counts["lost"] += 1
            first += 1
    return counts


def _tried(name: str, first: int, last: int) -> Iterator[tuple[int, str, str]]:
    command = [sys.executable, __file__, name, str(first), str(last)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            seed, what, said = line.rstrip("\n").split("\t")
            yield int(seed), what, said


def _run(name: str, first: int, last: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(ProgressLines, "say_if_due", lambda _: None)
        place = Path(folder) / "tried"
        place.mkdir()
        good = good_files(Path(folder))
        for seed in range(first, last):
            draw = random.Random(seed)
            seconds = resource.getrusage(resource.RUSAGE_SELF)
            spent = int(seconds.ru_utime + seconds.ru_stime)
            resource.setrlimit(resource.RLIMIT_CPU, (spent + MOST_SECONDS, resource.RLIM_INFINITY))
            what, said = came_of(NAMED[name](good[seed % len(good)], draw), place)
            print(seed, what, " ".join(said.split())[:2000], sep="\t", flush=True)


if __name__ == "__main__":
    _run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
