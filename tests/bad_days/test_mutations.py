"""Each altered file gives an error or an equal network; ``make bench-bad-days`` tries 10,000."""

import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from mutations import alter_bytes, alter_manifest, outcomes
from safetensors.torch import save_file
from torch import nn

import tensorpress as tp


def small_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.Flatten())
    return net.eval()


def compressed_file(folder: Path) -> bytes:
    result = tp.compress(small_net(), torch.zeros(1, 3, 8, 8), rank=tp.Ranks(4, 5, 4))
    tp.save(result, folder / "good.tp", source={"network": "mine:make", "mean": [0.5, 0.25]})
    return (folder / "good.tp").read_bytes()


def pruned_file(folder: Path) -> bytes:
    """Pruned, then decomposed."""
    image = torch.zeros(1, 3, 8, 8)
    model = tp.prune(small_net(), image, budget=tp.Budget(macs=1.2)).model
    result = tp.compress(model, image, rank=tp.Ranks(2, 3, 2))
    tp.save(result, folder / "good.tp", source={"network": "mine:make"})
    return (folder / "good.tp").read_bytes()


def load(file: Path, into: nn.Module) -> nn.Module:
    return tp.load(file, into=into)


@pytest.mark.parametrize("write", [compressed_file, pruned_file])
@pytest.mark.parametrize("alter", [alter_bytes, alter_manifest])
def test_compressed_files(
    alter: Callable[..., bytes], write: Callable[[Path], bytes], tmp_path: Path
) -> None:
    good = write(tmp_path)
    counts = outcomes(good, alter, load, small_net, tmp_path, range(500))
    assert counts["lost"] == 0
    assert counts["refused"] > 250


def test_torch_files(tmp_path: Path) -> None:
    torch.save(small_net().state_dict(), tmp_path / "good.pt")
    good = (tmp_path / "good.pt").read_bytes()
    counts = outcomes(good, alter_bytes, read_weights, small_net, tmp_path, range(500))
    assert counts["lost"] == 0
    assert counts["refused"] > 250


@pytest.mark.parametrize("seed", [1020, 1367])
def test_a_record_marked_as_a_folder(seed: int, tmp_path: Path) -> None:
    """Found by ``make bench-bad-days``: torch.load then gives memory that nothing was read into."""
    torch.save(small_net().state_dict(), tmp_path / "good.pt")
    good = (tmp_path / "good.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "good.pt") as archive:
        start = archive.start_dir
    place = good.index(b"PK\x01\x02", start) + 38  # the external attributes of the first record
    marked = good[:place] + bytes([16]) + good[place + 1 :]
    for content in (marked, alter_bytes(good, random.Random(seed))):
        (tmp_path / "marked.pt").write_bytes(content)
        with pytest.raises(tp.TensorpressError, match="does not fit its checksum or kind"):
            tp.load_weights(small_net(), tmp_path / "marked.pt")


def read_weights(file: Path, into: nn.Module) -> nn.Module:
    return tp.load_weights(into, file)


def old_format(path: Path, state: Any) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("write", [old_format, lambda path, state: save_file(state, path)])
def test_files_without_checksums_never_crash(write: Any, tmp_path: Path) -> None:
    """Numbers altered in them cannot be told from others: the network may get those."""
    write(tmp_path / "good", small_net().state_dict())
    good = (tmp_path / "good").read_bytes()
    counts = outcomes(good, alter_bytes, read_weights, small_net, tmp_path, range(500))
    assert counts.total() == 500
    assert counts["refused"] > 100
