"""Killed, stopped and out of disk: what was there stays, and nothing half-written is left."""

import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
import torch
from torch import nn

import tensorpress as tp

COMPRESS = ("-m", "tensorpress", "compress", "--energy", "0.6", "-o", "OUT")
FOR_A_MOMENT = ("--net", "resnet20", "--weights", "resnet20.safetensors")
FOR_MINUTES = ("--net", "vggnet", "--weights", "vggnet.safetensors", "--method", "cp")


def save_for_ever(file: Path, ready: Event) -> None:
    torch.set_num_threads(1)  # those of the process it was forked from are not there
    nets = [nn.Conv2d(64, 64, 3), nn.Conv2d(64, 64, 3)]
    for value, net in enumerate(nets):
        nn.init.constant_(net.weight, float(value))
        nn.init.constant_(net.bias, float(value))
    ready.set()
    while True:
        for net in nets:
            tp.save(net, file)


def killed_while_saving(folder: Path, seed: int) -> str:
    """Kill a process that writes one of two networks over and over; what there is afterwards."""
    file = folder / "net.tp"
    # Forked, so that each is at work at once: to import all of this takes seconds.
    forking = multiprocessing.get_context("fork")
    ready = forking.Event()
    process = forking.Process(target=save_for_ever, args=[file, ready])
    process.start()
    assert ready.wait(60)
    time.sleep(0.05 + 0.1 * random.Random(seed).random())
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    if not file.exists():
        return "nothing yet"
    loaded = tp.load(file, into=nn.Conv2d(64, 64, 3))
    values = {float(value) for p in loaded.parameters() for value in p.detach().unique()}
    return "whole" if values in ({0.0}, {1.0}) else "lost"


def test_killed_while_saving(tmp_path: Path) -> None:
    found = [killed_while_saving(tmp_path, seed) for seed in range(3)]
    assert found[-1] == "whole"
    assert "lost" not in found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a result that must not be lost."""
    (tmp_path / "OUT").mkdir()
    (tmp_path / "OUT" / "model.tp").write_text("the old one")
    return tmp_path


@contextmanager
def started(
    place: Path, *options: str, limit: Callable[[], None] = lambda: None
) -> Iterator[subprocess.Popen[str]]:
    """A compression of a network with random weights, which are written first.

    It hears Ctrl-C also where the tests run in the background of a shell, and ends with the test.
    """

    def before() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        limit()

    name = options[1]
    torch.manual_seed(0)
    tp.save(tp.networks.build(name), place / f"{name}.safetensors")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, *COMPRESS, *options],
        cwd=place,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until_at_work(place: Path) -> None:
    until = time.monotonic() + 120
    while not (place / "OUT" / ".lock").exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    time.sleep(0.5)


@pytest.mark.parametrize(
    ("number", "codes"),
    [
        # Shells show both as 130: Python dies of the signal itself if that fell into an exec().
        (signal.SIGINT, {130, -2}),
        (signal.SIGTERM, {-15}),
        (signal.SIGKILL, {-9}),
    ],
)
def test_stopped_while_compressing(number: int, codes: set[int], place: Path) -> None:
    with started(place, *FOR_MINUTES) as process:
        wait_until_at_work(place)
        process.send_signal(number)
        _out, err = process.communicate(timeout=60)
    assert process.returncode in codes
    assert "Traceback" not in err
    assert (place / "OUT" / "model.tp").read_text() == "the old one"
    left = {path.name for path in (place / "OUT").iterdir()}
    if number == signal.SIGINT:
        assert err.splitlines()[-1] == "stopped."
        assert left == {"model.tp"}
    assert left <= {"model.tp", ".lock"}


def test_a_full_disk_while_compressing(place: Path) -> None:
    def disk_of_100_kb() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    with started(place, *FOR_A_MOMENT, limit=disk_of_100_kb) as process:
        _out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith("error: cannot write OUT/model.tp: ")
    assert "Traceback" not in err
    assert [path.name for path in (place / "OUT").iterdir()] == ["model.tp"]
    assert (place / "OUT" / "model.tp").read_text() == "the old one"


def test_the_next_start_says_what_it_found(place: Path) -> None:
    (place / "OUT" / ".model.tp.abc.partial").write_text("half")
    (place / "OUT" / ".lock").write_text("12345")
    with started(place, *FOR_A_MOMENT) as process:
        _out, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "OUT held 1 unfinished file of an interrupted command: removed." in err
    assert sorted(path.name for path in (place / "OUT").iterdir()) == [
        "account.json",
        "account.txt",
        "model.tp",
    ]
