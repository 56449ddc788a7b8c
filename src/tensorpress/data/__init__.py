"""Labelled images: CIFAR, digits or one's own, in memory or in files, and their augmentation."""

from tensorpress.data.augment import augment
from tensorpress.data.dataset import Dataset, Images
from tensorpress.data.framing import Framing
from tensorpress.data.image_files import ImageFiles
from tensorpress.data.image_set import ImageSet
from tensorpress.data.load import load_data
from tensorpress.data.unlabelled import load_unlabelled, unlabelled_of
from tensorpress.data.wanted import Wanted
from tensorpress.pixels import normalise

__all__ = [
    "Dataset",
    "Framing",
    "ImageFiles",
    "ImageSet",
    "Images",
    "Wanted",
    "augment",
    "load_data",
    "load_unlabelled",
    "normalise",
    "unlabelled_of",
]
