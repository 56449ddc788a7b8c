"""Networks of ultralytics, such as ``ultralytics:yolov8n.pt`` or, untrained, ``yolov8n.yaml``."""

from pathlib import Path

from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.networks.libraries.library import Library, Usual


class Ultralytics(Library):
    """The library itself reads its .pt files, which hold code: only those of people one trusts."""

    name = "ultralytics"
    takes_classes = False

    def usual(self, network: str) -> Usual:
        if not network.endswith((".pt", ".yaml")):
            raise TensorpressError(
                f"{self.name}:{network}: give the file by which ultralytics knows it, such as "
                "yolov8n.pt, or yolov8n.yaml for an untrained one."
            )
        return Usual((3, 640, 640), (0.0,) * 3, (1.0,) * 3, pretrained=network.endswith(".pt"))

    def build(self, network: str, *, pretrained: bool, **counts: int) -> nn.Module:  # noqa: ARG002
        """The network; of a .pt file that is there the structure, which it holds, is read too."""
        self.usual(network)
        library = self.imported()
        is_there = pretrained or Path(network).is_file()
        try:
            net = library.YOLO(network if is_there else f"{Path(network).stem}.yaml").model
        except Exception as error:  # of the library, of the file or of the connection
            raise self.failed(network, error) from error
        if not isinstance(net, nn.Module):
            raise TensorpressError(f"{self.name}:{network} holds no PyTorch network.")
        return net
