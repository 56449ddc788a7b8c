"""Networks of timm, such as ``timm:resnet50`` or ``timm:resnet50.a1_in1k``."""

from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.networks.libraries.library import Library, Usual
from tensorpress.progress import warn


class Timm(Library):
    name = "timm"

    def usual(self, network: str) -> Usual:
        timm = self.imported()
        if not timm.is_model(network):
            raise self.unknown(network, timm.list_models())
        config = timm.get_pretrained_cfg(network)
        return Usual(
            tuple(config.input_size),
            tuple(config.mean),
            tuple(config.std),
            timm.models.is_model_pretrained(network),
        )

    def build(self, network: str, *, pretrained: bool, **counts: int) -> nn.Module:
        self.usual(network)
        timm = self.imported()
        given = {"num_classes": counts.get("num_classes"), "in_chans": counts.get("in_channels")}
        classes = timm.get_pretrained_cfg(network).num_classes
        if pretrained and given["num_classes"] not in (None, classes):
            warn(
                f"{self.name}:{network} was trained on {classes} classes: its last layer, for "
                f"{given['num_classes']}, is drawn at random and has to be trained."
            )
        try:
            net = timm.create_model(
                network,
                pretrained=pretrained,
                **{name: value for name, value in given.items() if value is not None},
            )
        except Exception as error:  # of the library, of its hub or of the connection
            raise self.failed(network, error) from error
        if not isinstance(net, nn.Module):
            raise TensorpressError(f"{self.name}:{network} is no torch.nn.Module.")
        return net
