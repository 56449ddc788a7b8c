"""What networks are calibrated on, as people give it, brought into the form of their inputs."""

from tensorpress.rows.classes import classes, gives_classes
from tensorpress.rows.given_images import CalibrationImages, channels_first, image_in, read_images
from tensorpress.rows.reading import read_rows
from tensorpress.rows.samples import Outputs, Rows, Samples, changed, count_rows, inputs_of, run

__all__ = [
    "CalibrationImages",
    "Outputs",
    "Rows",
    "Samples",
    "changed",
    "channels_first",
    "classes",
    "count_rows",
    "gives_classes",
    "image_in",
    "inputs_of",
    "read_images",
    "read_rows",
    "run",
]
