"""A network by its name."""

from collections.abc import Callable
from functools import partial

from torch import nn

from tensorpress.errors import TensorpressError, shown
from tensorpress.graphs import is_graph_file, read_graph_network
from tensorpress.networks.libraries import in_library
from tensorpress.networks.own_network import own_network
from tensorpress.networks.resnet import resnet20, resnet32, resnet44, resnet56, resnet110
from tensorpress.networks.tt_conv import TT_CONV
from tensorpress.networks.tt_conv_cnn import tt_conv_cnn
from tensorpress.networks.vggnet import vggnet

_BY_DEPTH: dict[str, Callable[..., nn.Module]] = {
    "resnet20": resnet20,
    "resnet32": resnet32,
    "resnet44": resnet44,
    "resnet56": resnet56,
    "resnet110": resnet110,
}
RESNETS = _BY_DEPTH | {
    f"{name}-projection": partial(of, shortcut="projection") for name, of in _BY_DEPTH.items()
}
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "tt_conv_cnn": tt_conv_cnn,
    "vggnet": vggnet,
    **RESNETS,
    **TT_CONV,
}


def build(
    name: str,
    num_classes: int | None = None,
    in_channels: int | None = None,
    *,
    pretrained: bool = False,
) -> nn.Module:
    """Build a network by name: of `NETWORKS`, of another library, or one's own.

    Those of timm, torchvision and ultralytics go by `"timm:resnet50"`, `"torchvision:resnet18"` and
    `"ultralytics:yolov8n.pt"`, one's own by `"package.module:function"`. A file of ONNX is read.

    >>> sum(p.numel() for p in build("resnet56").parameters())
    853018

    Parameters:
        name: a key of `NETWORKS`, a network of a library, a spec that `own_network` takes, or the
            path of an .onnx file.
        num_classes: outputs; None leaves the network's own default (10 for those of `NETWORKS`).
        in_channels: channels of the images; None leaves the default (3 for those of `NETWORKS`).
        pretrained: take the trained weights of the library, which may download them.

    Raises:
        TensorpressError: for an unknown name (the message lists the names), counts under 1, a
            library that is not installed or cannot be imported, or a network that cannot be built.
    """
    counts = {"num_classes": num_classes, "in_channels": in_channels}
    given = {key: count for key, count in counts.items() if count is not None}
    for key, count in given.items():
        if count < 1:
            raise TensorpressError(f"{key} must be at least 1, got {shown(count)}")
    if name in NETWORKS:
        return NETWORKS[name](**given)
    library = in_library(name)
    if library is not None:
        return library[0].build(library[1], pretrained=pretrained, **given)
    if is_graph_file(name):
        return read_graph_network(name)
    if ":" in name:
        return own_network(name, given)
    raise TensorpressError(
        f"no network called '{name}': give one of {', '.join(NETWORKS)}, one of a library, such as "
        "timm:resnet50, your own as package.module:function, or a file of ONNX"
    )
