import zipfile
from pathlib import Path

import pytest
import torch
from packed import packed

from tensorpress.errors import TensorpressError
from tensorpress.training.checkpoint import KEYS, read_checkpoint, write_checkpoint


def test_a_record_marked_as_a_folder_is_refused(tmp_path: Path) -> None:
    """torch.load gives memory that nothing was read into for it."""
    path = tmp_path / "last.pt"
    write_checkpoint([path], dict.fromkeys(KEYS, torch.arange(9.0)))
    assert torch.equal(read_checkpoint(path)["model"], torch.arange(9.0))
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        content[archive.start_dir + 38] |= 0x10  # the external attributes of the first record
    path.write_bytes(content)
    with pytest.raises(
        TensorpressError, match=r"last\.pt is damaged: .*data\.pkl.* does not fit its"
    ):
        read_checkpoint(path)


def test_a_packed_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_checkpoint([path], dict.fromkeys(KEYS, torch.zeros(9)))
    packed(path)
    with pytest.raises(TensorpressError, match=r"last\.pt is damaged: .*data\.pkl.* is packed"):
        read_checkpoint(path)
