"""The handwritten digits that come with scikit-learn (Alpaydin and Kaynak, 1998)."""

import numpy as np
import torch

from tensorpress.data.dataset import Dataset
from tensorpress.data.image_set import ImageSet
from tensorpress.errors import TensorpressError

_SIDE = 8
_TEST_IMAGES = 360
_SEED = 0


def load_digits(side: int = 8) -> Dataset:
    """1,437 images to train on and 360 to test on, 1x8x8, ten classes; no network needed.

    The set's values 0 .. 16 are scaled to 0 .. 255. The split is drawn once and for all, with the
    same share of each digit on both sides. `mean` and `std` are those of the training images.

    Args:
        side: of an image in pixels, a multiple of 8: each pixel becomes a square of equal ones.

    Raises:
        TensorpressError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets, model_selection
    except ImportError as error:
        raise TensorpressError(
            "the digits need scikit-learn: pip install 'tensorpress[train]'"
        ) from error
    digits = datasets.load_digits()
    images = torch.from_numpy(np.rint(digits.images * (255 / 16)).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target.astype(np.int64))
    scale = side // _SIDE
    images = images.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    whole = ImageSet(images, labels)
    train, test = model_selection.train_test_split(
        np.arange(len(whole)), test_size=_TEST_IMAGES, stratify=digits.target, random_state=_SEED
    )
    train_set = whole.subset(torch.from_numpy(np.sort(train)))
    pixels = train_set.images.double() / 255
    return Dataset(
        name="digits" if scale == 1 else f"digits{side}",
        train=train_set,
        test=whole.subset(torch.from_numpy(np.sort(test))),
        classes=tuple(str(name) for name in digits.target_names),
        mean=(round(pixels.mean().item(), 4),),
        std=(round(pixels.std().item(), 4),),
        crop_padding=scale,
        flip=False,
    )
