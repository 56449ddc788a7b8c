"""Accuracy of a network on a set of images, with its standard error."""

import dataclasses
import math

import torch
from torch import nn

from tensorpress.data import Dataset, Images, normalise
from tensorpress.errors import TensorpressError
from tensorpress.layers import channels_last, channels_second
from tensorpress.progress import track
from tensorpress.surgery import evaluating, runs_in_channels_last
from tensorpress.training.logits import logits_in, require_answers
from tensorpress.training.place import Place, find_place

# On a CPU the maps of more images than this leave the cache, which halves the speed.
BATCH = {"cpu": 250, "cuda": 2000}


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """How many of ``images`` a network put in the right class."""

    correct: int
    images: int

    @property
    def percent(self) -> float:
        """The share of right answers, in percent."""
        return 100.0 * self.correct / self.images

    @property
    def stderr(self) -> float:
        """The standard error sqrt(p (1 - p) / n) of that share, in percentage points."""
        share = self.correct / self.images
        return 100.0 * math.sqrt(share * (1.0 - share) / self.images)

    def __str__(self) -> str:
        return f"{self.percent:.2f} % ± {self.stderr:.2f}"


def evaluate(
    net: nn.Module,
    data: Dataset,
    images: Images | None = None,
    *,
    place: Place | None = None,
    progress: bool | None = None,
) -> Accuracy:
    """Accuracy of ``net`` on ``images``, the data's test images where none are given.

    Files that cannot be read are left out and said, up to one in a hundred.

    The network goes to the place's device and runs in evaluation mode and float32; its modules are
    given back in the modes that they had, also after an error. Several processes share the images
    out among them. ``progress=False`` says nothing of how far it is.

    Raises:
        TensorpressError: there is no image, or the network gives no row of classes per image, or
            NaN in one.
    """
    images = data.test if images is None else images
    if not len(images):
        raise TensorpressError(f"{data.name} holds no images to evaluate on; give some.")
    place = place or find_place()
    net.to(place.device)
    size = BATCH.get(place.device.type, 1000)
    require_answers(net, data, place.device)
    example = torch.zeros(2, *data.input_shape, device=place.device)
    arranged = channels_last if runs_in_channels_last(net, example) else channels_second
    # Right answers, images, and those whose answer is no number.
    counted = torch.zeros(3, dtype=torch.int64, device=place.device)
    batches = images.batches(size, rank=place.rank, world=place.world)
    count = len(range(place.rank * size, len(images), place.world * size))
    with evaluating(net), torch.inference_mode():
        shown = progress if place.is_main else False
        for batch in track(batches, "evaluating", of=count, show=shown):
            batch = batch.to(place.device)
            inputs = normalise(batch.images, data.mean, data.std)
            logits = logits_in(net(arranged(inputs)))
            counted[0] += (logits.argmax(1) == batch.labels).sum()
            counted[1] += len(batch)
            counted[2] += logits.isnan().any(1).sum()
    correct, seen, unknown = place.total(counted).tolist()
    if unknown:
        raise TensorpressError(
            f"the network's outputs hold NaN for {unknown:,} of {seen:,} images: look for a "
            "diverged training or a damaged weight file."
        )
    return Accuracy(correct, seen)
