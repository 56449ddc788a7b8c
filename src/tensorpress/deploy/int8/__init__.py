"""Networks in int8: the images that ranges are read off, the graph quantised, and what it costs."""

from tensorpress.deploy.int8.calibration import read_calibration
from tensorpress.deploy.int8.fidelity import Fidelity, fidelity, read_floor
from tensorpress.deploy.int8.quantise import quantised

__all__ = ["Fidelity", "fidelity", "quantised", "read_calibration", "read_floor"]
