"""What a compression is asked for: a rule or a budget, layers, methods, what images are used for.

Data alone, which goes to JSON, and options of a command line, without PyTorch.
"""

from tensorpress.request.budget import Budget
from tensorpress.request.recovery import Recovery, read_recovery
from tensorpress.request.request import Calibration, Request

__all__ = ["Budget", "Calibration", "Recovery", "Request", "read_recovery"]
