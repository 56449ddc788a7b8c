"""Networks of torchvision, such as ``torchvision:resnet18``."""

from typing import Any

from torch import nn

from tensorpress.errors import TensorpressError
from tensorpress.networks.libraries.library import Library, Usual

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Torchvision(Library):
    name = "torchvision"

    def usual(self, network: str) -> Usual:
        weights = self._weights(network)
        if weights is None:
            return Usual((3, 224, 224), MEAN, STD, pretrained=False)
        takes = weights.transforms()
        # Crops are square where there are some; of others the shorter side is known.
        sizes = (getattr(takes, name, None) for name in ("crop_size", "resize_size"))
        side = next(filter(None, sizes), [224])[0]
        mean, std = (getattr(takes, name, usual) for name, usual in (("mean", MEAN), ("std", STD)))
        return Usual((3, side, side), tuple(mean), tuple(std), pretrained=True)

    def build(self, network: str, *, pretrained: bool, **counts: int) -> nn.Module:
        best = self._weights(network)
        weights = best if pretrained else None
        if counts.get("in_channels", 3) != 3:
            raise TensorpressError(
                f"{self.name}:{network} takes images of 3 channels, not {counts['in_channels']}."
            )
        classes = counts.get("num_classes")
        trained_on = 0 if weights is None else len(weights.meta.get("categories", ()))
        if trained_on and classes not in (None, trained_on):
            raise TensorpressError(
                f"the trained weights of {self.name}:{network} are of {trained_on} classes, and "
                f"{classes} are asked for (--classes, or those of --data): give weights of so many "
                "with --weights."
            )
        given: dict[str, Any] = {}
        if classes is not None and not trained_on:
            given["num_classes"] = classes
        models = self._models()
        try:
            net: nn.Module = models.get_model(network, weights=weights, **given)
        except Exception as error:  # of the library or of the connection
            raise self.failed(network, error) from error
        return net

    def _weights(self, network: str) -> Any:
        """The library's best weights of a network; None where it has none."""
        models = self._models()
        if network not in models.list_models():
            raise self.unknown(network, models.list_models())
        return getattr(models.get_model_weights(network), "DEFAULT", None)

    def _models(self) -> Any:
        return self.imported("torchvision.models")
