import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from tensorpress.data.arrays import load_arrays
from tensorpress.errors import TensorpressError


def test_rows_by_name(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0).standard_normal((5, 3))
    np.savez_compressed(tmp_path / "two.npz", x=drawn, z=np.asfortranarray(drawn))
    found = load_arrays(tmp_path / "two.npz", most=4)
    assert isinstance(found, dict)
    assert list(found) == ["x", "z"]
    for rows in found.values():
        assert torch.equal(rows, torch.from_numpy(drawn[:4]))


def test_what_would_fill_the_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """By its header: a few packed bytes may stand for all that it says."""
    with zipfile.ZipFile(tmp_path / "large.npz", "w") as archive:
        for name in ("x.npy", "y.npy"):
            header = {"descr": "<f4", "fortran_order": False, "shape": (3 * 2**18, 1024)}
            with archive.open(name, "w") as file:
                np.lib.format.write_array_header_1_0(file, header)
    told = r"large\.npz holds arrays of 6\.0 GiB, and of an \.npz at most 4 GiB are read"
    with pytest.raises(TensorpressError, match=told):
        load_arrays(tmp_path / "large.npz", most=16)
