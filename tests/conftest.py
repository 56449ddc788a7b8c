"""Tests run several at a time (pytest -n), so each process has one thread."""

import os

# Read when torch and numpy are loaded, here and in the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
