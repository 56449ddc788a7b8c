import functools
import hashlib
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tensorpress.data import download, load_data
from tensorpress.errors import TensorpressError

FILE = "cifar-10-binary.tar.gz"
FOLDER = "cifar-10-batches-bin"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small set in the place of CIFAR-10's own archive, with its hash."""
    folder = tmp_path / "made" / FOLDER
    folder.mkdir(parents=True)
    for name, count in (("data_batch_1.bin", 3), ("test_batch.bin", 2)):
        (folder / name).write_bytes(np.zeros((count, 3073), np.uint8).tobytes())
    served = tmp_path / "served"
    served.mkdir()
    with tarfile.open(served / FILE, "w:gz") as packed:
        packed.add(folder, FOLDER)
    sha256 = hashlib.sha256((served / FILE).read_bytes()).hexdigest()
    made = download._Archive(FILE, sha256, FOLDER)
    monkeypatch.setitem(download._ARCHIVES, "cifar10", made)
    return served / FILE


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(download, "SITE", "http://127.0.0.1:9")
    return tmp_path / "cache"


@pytest.fixture
def site(archive: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handler = functools.partial(Quiet, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(download, "SITE", f"http://127.0.0.1:{server.server_port}")
        yield
        server.shutdown()


@pytest.mark.usefixtures("site")
def test_downloads_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load_data("cifar10")
    assert (data.name, len(data.train), len(data.test)) == ("cifar10", 3, 2)
    assert sorted(entry.name for entry in cache.iterdir()) == [FOLDER, FILE]
    monkeypatch.setattr(download, "SITE", "http://127.0.0.1:9")
    assert len(load_data("cifar10", download=False).train) == 3
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("site")
def test_wrong_hash(archive: Path, cache: Path) -> None:
    archive.write_bytes(b"something else")
    with pytest.raises(TensorpressError, match="hash") as caught:
        load_data("cifar10")
    assert f"put {FILE}" in str(caught.value)
    assert not list(cache.iterdir())


def test_an_archive_put_there_by_hand(archive: Path, cache: Path) -> None:
    cache.mkdir()
    (cache / FILE).write_bytes(archive.read_bytes())
    assert len(load_data("cifar10", download=False).test) == 2


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_no_network(name: str, cache: Path) -> None:
    with pytest.raises(TensorpressError) as caught:
        load_data(name)
    text = str(caught.value)
    assert "cannot download" in text
    assert f"into {cache}" in text
    assert "\n" not in text


def test_downloads_not_allowed(cache: Path) -> None:
    with pytest.raises(TensorpressError, match="downloads are off: put cifar-100-binary"):
        load_data("cifar100", download=False)
    assert not cache.exists()
