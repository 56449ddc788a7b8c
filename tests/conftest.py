"""Tests run several at a time (pytest -n), so each process has one thread."""

import os

# Read by OpenMP when torch is loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
