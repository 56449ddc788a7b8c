import os
import resource
import signal
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import tensorpress as tp
from tensorpress.files import write_atomically, write_whole


def words(path: Path) -> None:
    path.write_text("new")


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "file"
    for _ in range(2):
        write_atomically(path, words)
        assert path.read_text() == "new"
        assert os.listdir(path.parent) == ["file"]
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("content", ["Größe\n", b"\x00\r\n"])
def test_writes_text_and_bytes_as_they_are(content: str | bytes, tmp_path: Path) -> None:
    write_whole(tmp_path / "file", content)
    expected = content.encode("utf-8") if isinstance(content, str) else content
    assert (tmp_path / "file").read_bytes() == expected


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (OSError(28, "No space left on device"), tp.TensorpressError),
        (OSError("odd"), tp.TensorpressError),
        (RuntimeError("bug"), RuntimeError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (tp.TensorpressError("no"), tp.TensorpressError),
    ],
)
@pytest.mark.parametrize("old", [None, "old"])
def test_failing_writer(
    error: BaseException, seen: type[BaseException], old: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    if old:
        path.write_text(old)

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises(seen) as caught:
        write_atomically(path, fail)
    if isinstance(error, OSError):
        assert str(path) in str(caught.value)
        assert (error.strerror or "odd") in str(caught.value)
    assert os.listdir(tmp_path) == (["file"] if old else [])
    assert not old or path.read_text() == old


def test_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")

    def slow(temporary: Path) -> None:
        with temporary.open("w") as file:
            for _ in range(3):
                file.write("part")
                file.flush()
                assert path.read_text() == "old"

    write_atomically(path, slow)
    assert path.read_text() == "part" * 3


@pytest.mark.parametrize("place", ["file/x", "file/x/y", "folder", "x" * 300])
def test_places_that_cannot_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder" / "full").mkdir(parents=True)
    with pytest.raises(tp.TensorpressError, match="cannot write"):
        write_atomically(tmp_path / place, words)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"
    assert os.listdir(tmp_path / "folder") == ["full"]


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """A disk that is full after 10,000 bytes, as far as this process can tell."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files_only")
def test_full_disk_keeps_the_old_network(tmp_path: Path) -> None:
    path = tmp_path / "net.tp"
    tp.save(nn.Conv2d(3, 4, 3), path)
    old = path.read_bytes()
    with pytest.raises(tp.TensorpressError, match=r"cannot write .*net\.tp"):
        tp.save(nn.Conv2d(64, 64, 3), path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["net.tp"]
    assert torch.isfinite(tp.load(path, into=nn.Conv2d(3, 4, 3)).weight).all()


def test_what_a_library_writes_for_the_owner_alone_is_as_readable_as_any_file(
    tmp_path: Path,
) -> None:
    def write(temporary: Path) -> None:
        os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))

    write_atomically(tmp_path / "FILE", write)
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((tmp_path / "FILE").stat().st_mode) == 0o666 & ~mask
