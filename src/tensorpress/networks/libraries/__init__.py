"""Networks of other libraries, where these are installed: ``timm:resnet50`` and such."""

from tensorpress.networks.libraries.library import Library, Usual
from tensorpress.networks.libraries.timm import Timm
from tensorpress.networks.libraries.torchvision import Torchvision
from tensorpress.networks.libraries.ultralytics import Ultralytics

LIBRARIES: dict[str, Library] = {it.name: it for it in (Timm(), Torchvision(), Ultralytics())}

__all__ = ["LIBRARIES", "Library", "Usual", "in_library"]


def in_library(spec: str) -> tuple[Library, str] | None:
    """The library and the network that ``"library:network"`` names; None of other names."""
    prefix, colon, network = spec.partition(":")
    return (LIBRARIES[prefix], network) if colon and prefix in LIBRARIES else None
