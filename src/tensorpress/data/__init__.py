"""Images in memory: CIFAR, digits or one's own, and their augmentation in whole batches."""

from tensorpress.data.augment import augment
from tensorpress.data.image_set import Dataset, ImageSet
from tensorpress.data.load import load_data
from tensorpress.data.unlabelled import load_unlabelled, unlabelled_of
from tensorpress.pixels import normalise

__all__ = [
    "Dataset",
    "ImageSet",
    "augment",
    "load_data",
    "load_unlabelled",
    "normalise",
    "unlabelled_of",
]
