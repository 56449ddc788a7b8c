"""ONNX files with every layer a chain at full rank beside the files themselves: docs/onnx.md.

Run by `make bench-onnx-full-rank ARGS="-o OUT"`, with the libraries that are there. Networks of
`listed_networks.py` are exported, one of them in several ways; the files of rapidocr_onnxruntime
are taken as they are. Every layer that can be decomposed becomes a chain, also where that makes it
larger. Then both files are run in ONNX Runtime on random inputs, readers of text on a page.
Finished rows stand in OUT/rows.json and are not made again.
"""

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import torch
from listed_networks import listed
from text_pictures import drawn_page
from torch import Tensor, nn

import tensorpress as tp
from tensorpress.deploy.graph_check import compare_graphs
from tensorpress.deploy.graph_file import write_graph_file
from tensorpress.files import write_whole
from tensorpress.graphs import read_graph_network
from tensorpress.progress import track
from tensorpress.surgery import copy_with, survey

NETWORKS = {
    "torchvision": (
        *("squeezenet1_1", "mobilenet_v3_small", "mobilenet_v2", "mnasnet1_0", "resnet18"),
        *("shufflenet_v2_x1_0", "regnet_y_400mf", "efficientnet_b0", "densenet121", "googlenet"),
        *("lraspp_mobilenet_v3_large", "resnext50_32x4d", "convnext_tiny"),
    ),
    "timm": ("lcnet_050", "ghostnet_100", "mixnet_s", "mobilevit_xxs", "mobilenetv4_conv_small"),
    "segmentation_models_pytorch": ("Unet, resnet18", "FPN, mobilenet_v2"),
    "ultralytics": ("yolov8n",),
    "monai": ("BasicUNet 2-D", "UNet 3-D"),
    "facenet_pytorch": ("MTCNN's ONet, trained",),
    "torchcrepe": ("CREPE tiny, trained",),
    "efficientnet_lite_pytorch": ("EfficientNet-Lite0, trained",),
}
READERS = {"det": (1, 3, 256, 256), "rec": (2, 3, 48, 200), "cls": (2, 3, 48, 192)}
"""The networks of rapidocr_onnxruntime, and the shape of what each is given."""
WAYS = "resnet18"
"""The network that is exported in several ways."""
File = tuple[str, Callable[[Path], Path], tuple[int, ...]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--only", default="", help="names that hold one of these, by commas")
    parser.add_argument("--method", default="ttpwt")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    place = given.output / "rows.json"
    rows = json.loads(place.read_text()) if place.exists() else {}
    wanted = [
        file
        for file in files()
        if file[0] not in rows and any(part in file[0] for part in given.only.split(","))
    ]
    for name, make, shape in track(wanted, "files"):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                row = measured(make(Path(folder) / "net.onnx"), shape, given.method)
            except Exception as error:  # of an exporter or a library: it is to stand in the table
                row = {"said": f"{type(error).__name__}: {error}"[:300]}
        rows[name] = row | {"seconds": time.perf_counter() - start}
        print(line(name, row), flush=True)
        write_whole(place, json.dumps(rows, indent=1) + "\n")
    print("\n".join(line(name, row) for name, row in rows.items()))


def line(name: str, row: dict[str, Any]) -> str:
    """As it stands in docs/onnx.md."""
    if "said" in row:
        return f"| {name} | | | | {row['said']} |"
    layers = f"{row['chains']} of {row['layers']}"
    return f"| {name} | {row['opset']} | {layers} | {row['pieces']} | {row['difference']:.1e} |"


def files() -> Iterator[File]:
    """A name, what makes the file at a path or gives another, and the shape of an input."""
    known = {(one.library, one.name): one for one in listed()}
    for library, names in NETWORKS.items():
        if not importlib.util.find_spec(library):
            continue
        for name in names:
            one = known[library, name]
            yield f"{library} {name}", exported(one.build, one.shape), (2, *one.shape)
            if name == WAYS:
                for way, options in ways().items():
                    sizes = (96, 80) if "free" in way else one.shape[1:]
                    make = exported_as(one.build, one.shape, options)
                    yield f"{library} {name}, {way}", make, (2, 3, *sizes)
    found = importlib.util.find_spec("rapidocr_onnxruntime")
    if found is not None and found.origin is not None:
        models = Path(found.origin).parent / "models"
        for name, shape in READERS.items():
            path = next(models.glob(f"*_{name}_*.onnx"))
            yield f"rapidocr_onnxruntime {path.stem}", partial(lambda path, _: path, path), shape


def exported(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> Callable[[Path], Path]:
    """By `tensorpress.export`, with a free batch where the network lets it be."""

    def make(path: Path) -> Path:
        net, example = seeded(build), torch.zeros(1, *shape)
        try:
            tp.export(net, path, example, progress=False)
        except tp.TensorpressError as error:
            if "dynamic_batch=False" not in str(error):
                raise
            tp.export(net, path, example, dynamic_batch=False, progress=False)
        return path

    return make


def exported_as(
    build: Callable[[], nn.Module], shape: tuple[int, ...], options: dict[str, Any]
) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        given = dict(options)
        apart = given.pop("apart", False)
        example = torch.zeros(1, *shape)
        torch.onnx.export(
            seeded(build), (example,), path, input_names=["x"], output_names=["y"],
            **given,
        )  # fmt: skip
        if apart:
            onnx.save(
                onnx.load(path), path, save_as_external_data=True, location="weights.bin",
                size_threshold=0,
            )  # fmt: skip
        return path

    return make


def ways() -> dict[str, dict[str, Any]]:
    """Other ways to export a network that takes images: arguments of ``torch.onnx.export``."""
    batch = {"x": {0: "N"}, "y": {0: "N"}}
    free = {"x": {0: "N", 2: "height", 3: "width"}, "y": {0: "N"}}
    old = {"dynamo": False, "dynamic_axes": batch}
    return {
        "opset 11": {**old, "opset_version": 11},
        "opset 21": {"dynamo": True, "opset_version": 21},
        "weights outside of the file": {**old, "opset_version": 17, "apart": True},
        "free height and width": {**old, "opset_version": 17, "dynamic_axes": free},
    }


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


def measured(path: Path, shape: tuple[int, ...], method: str) -> dict[str, Any]:
    net = read_graph_network(path)
    batch = net.structure.batch or shape[0]
    x = page(batch, shape[1:]) if path.parent.name == "models" else noise(batch, shape[1:])
    surveyed = survey(net, x).layers
    chains = {}
    for layer in surveyed:
        if layer.obstacle is None:
            chain = tp.factorize(layer.dense, method=method, rank=tp.Energy(1.0))
            chains[layer.name] = chain if layer.apart is None else layer.apart.joined(chain)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "full.onnx"
        write_graph_file(copy_with(net, chains), written)  # type: ignore[arg-type]
        found = compare_graphs(path, written, net.fed([x]), net.structure)
    return {
        "opset": net.structure.model.opset_imports.get(""),
        "layers": len(surveyed),
        "chains": len(chains),
        "pieces": sum(part.segment is not None for part in net.structure.parts),
        "difference": max(output.largest for output in found),
    }


def page(count: int, shape: tuple[int, ...]) -> Tensor:
    """Parts of a page of text, in -1 .. 1: in noise a detector finds nothing but rounding."""
    whole = torch.from_numpy(drawn_page(0).pixels).permute(2, 0, 1) / 127.5 - 1
    parts = [
        whole[:, 60 + 40 * n : 60 + 40 * n + shape[1], 80 : 80 + shape[2]] for n in range(count)
    ]
    return torch.stack(parts).contiguous()


def noise(count: int, shape: tuple[int, ...]) -> Tensor:
    draw = torch.Generator().manual_seed(0)
    return torch.randn(count, *shape, generator=draw)


if __name__ == "__main__":
    main()
