"""A network and images in, what compression needs to know of them out: metrics, losses, fits."""

from tensorpress.compression.calibration.answers import Answer, answer, heads, outputs
from tensorpress.compression.calibration.constants import followed_by_batch_norm
from tensorpress.compression.calibration.distil import distil, refuse_without_gradients
from tensorpress.compression.calibration.divergence import divergence
from tensorpress.compression.calibration.images import batches, even_batches
from tensorpress.compression.calibration.kept_outputs import kept_outputs, mean_distance
from tensorpress.compression.calibration.moments import input_moments, samplers
from tensorpress.compression.calibration.reconstruct import reconstruct
from tensorpress.compression.calibration.sensitivity import Trial, layer_losses
from tensorpress.compression.calibration.statistics import (
    batch_norms,
    reestimate_batch_norm,
    settle_batch_norm,
)

__all__ = [
    "Answer",
    "Trial",
    "answer",
    "batch_norms",
    "batches",
    "distil",
    "divergence",
    "even_batches",
    "followed_by_batch_norm",
    "heads",
    "input_moments",
    "kept_outputs",
    "layer_losses",
    "mean_distance",
    "outputs",
    "reconstruct",
    "reestimate_batch_norm",
    "refuse_without_gradients",
    "samplers",
    "settle_batch_norm",
]
