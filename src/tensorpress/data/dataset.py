"""Labelled images to train on and to test on, in memory or in files."""

from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from tensorpress.data.framing import Framing
from tensorpress.data.image_files import ImageFiles
from tensorpress.data.image_set import ImageSet
from tensorpress.errors import TensorpressError, refuse_no_seed
from tensorpress.pixels import check_normalisation

Images = ImageSet | ImageFiles


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images to train on and to test on, and how they are fed to a network.

    Attributes:
        name: what the data are called in tables.
        train, test: the two sets, of one image shape.
        classes: the name of each class, by its number.
        mean, std: one value a channel, for images scaled to 0 .. 1.
        crop_padding: pixels of black border for random crops of images in memory; 0 for none. Of
            files parts of random size are taken, which are mirrored too.
        flip: whether an image mirrored left to right is still of its class.

    Raises:
        TensorpressError: `mean` or `std` cannot be that of pixels in 0 .. 1, one value a channel.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: int
    flip: bool

    def __post_init__(self) -> None:
        channels = self.input_shape[0]
        check_normalisation(self.mean, self.std, channels, f"the images of {self.name}")

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        return self.train.shape

    @property
    def framing(self) -> Framing | None:
        """How files of images are brought to that shape; None where all of them have it."""
        return self.train.framing if isinstance(self.train, ImageFiles) else None

    def fingerprint(self) -> dict[str, Any]:
        """JSON values that tell the data, and how they are fed to a network, from others."""
        return {
            "name": self.name,
            "classes": self.num_classes,
            "mean": list(self.mean),
            "std": list(self.std),
            "crop_padding": self.crop_padding,
            "flip": self.flip,
            "train": self.train.fingerprint(),
            "test": self.test.fingerprint(),
            # Runs from before there was a choice go on.
            **({"framing": asdict(self.framing)} if self.framing else {}),
        }

    def hold_back(self, count: int, seed: int = 0) -> "Dataset":
        """Put `count` images of `train`, drawn with `seed`, in the place of `test`.

        For choosing things without a look at the test images; the other images stay in `train`.

        Raises:
            TensorpressError: `count` is under 1 or leaves nothing to train on, or no seed.
        """
        refuse_no_seed(seed)
        if not 1 <= count < len(self.train):
            raise TensorpressError(
                f"cannot hold back {count} of the {len(self.train)} training images: "
                f"give 1 to {len(self.train) - 1}, or none"
            )
        order = torch.randperm(
            len(self.train), generator=torch.Generator().manual_seed(seed), device="cpu"
        )
        held, kept = order[:count].sort().values, order[count:].sort().values
        return replace(self, train=self.train.subset(kept), test=self.train.subset(held))
