"""What a command works on: the data and the network that its options name."""

from tensorpress.cli.inputs.calibration import images_left, read_calibration
from tensorpress.cli.inputs.network import (
    Inputs,
    refuse_without_weights,
    required_net,
    warn_if_as_made,
)
from tensorpress.cli.inputs.read import read_compressed_inputs, read_inputs, read_network

__all__ = [
    "Inputs",
    "images_left",
    "read_calibration",
    "read_compressed_inputs",
    "read_inputs",
    "read_network",
    "refuse_without_weights",
    "required_net",
    "warn_if_as_made",
]
