import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tensorpress.files import aside, remove_leftovers, staged

AT_WORK = """
import os
import sys
from pathlib import Path
from tensorpress.files import staged
with staged(Path(sys.argv[1])) as place:
    place.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""

FORKED = AT_WORK.replace(
    "    print(",
    "    told, tell = os.pipe()\n"
    "    if os.fork() == 0:\n        os.write(tell, b'.')\n"
    "        os.read(0, 1)\n        os._exit(0)\n"
    "    os.read(told, 1)\n    print(",
)
"""With a child that lives on, as a worker that loads data does, until the pipe to it is closed; it
has begun, as what it lets go of it lets go of at its beginning."""


@contextmanager
def process_at_work(path: Path, code: str = AT_WORK) -> Iterator[subprocess.Popen[str]]:
    """A process in the middle of writing ``path``."""
    command = [sys.executable, "-c", code, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


def write(path: Path, content: str) -> None:
    with staged(path) as place:
        place.write_text(content)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_process_left_is_removed_and_what_a_live_one_writes_is_not(
    tmp_path: Path,
) -> None:
    with process_at_work(tmp_path / "net.pt2") as process:
        write(tmp_path / "other.pt2", "whole")
        held, *written = names(tmp_path)
        assert held.endswith(aside.PARTIAL)
        assert written == ["other.pt2"]
        process.kill()
        process.wait()
    assert names(tmp_path) == [held, "other.pt2"]
    write(tmp_path / "net.pt2", "whole")
    assert names(tmp_path) == ["net.pt2", "other.pt2"]


def test_only_copies_of_replaced_files_stay(tmp_path: Path) -> None:
    leftover = tmp_path / f".net.bin.abc{aside.PARTIAL}"
    (leftover / aside.REPLACED).mkdir(parents=True)
    (leftover / aside.REPLACED / "net.bin").write_text("old")
    write(tmp_path / "other.pt2", "whole")
    assert (leftover / aside.REPLACED / "net.bin").read_text() == "old"
    write(tmp_path / "net.bin", "new")
    write(tmp_path / "other.pt2", "whole")
    assert names(tmp_path) == ["net.bin", "other.pt2"]


def test_what_only_looks_like_a_leftover_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / f".link{aside.PARTIAL}").symlink_to(tmp_path / "elsewhere")
    (tmp_path / f".toml{aside.PARTIAL}").write_text("a file")
    before = names(tmp_path)
    write(tmp_path / "net.pt2", "whole")
    assert names(tmp_path) == sorted([*before, "net.pt2"])
    assert names(tmp_path / "elsewhere") == ["file"]


def test_a_file_system_without_locks_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    (tmp_path / f".net.bin.abc{aside.PARTIAL}").mkdir()
    write(tmp_path / "net.pt2", "whole")
    assert names(tmp_path) == [f".net.bin.abc{aside.PARTIAL}", "net.pt2"]


def test_a_folder_that_another_process_took_for_a_leftover_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = tempfile.mkdtemp
    taken: list[object] = []

    def make_and_lose(**where: object) -> str:
        folder = make(**where)  # type: ignore[call-overload]
        if not taken:
            os.rmdir(folder)
            taken.append(folder)
        return folder

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    write(tmp_path / "net.pt2", "whole")
    assert taken
    assert names(tmp_path) == ["net.pt2"]


def test_a_folders_holder_removes_what_the_dead_left_in_it_and_counts_it(tmp_path: Path) -> None:
    (tmp_path / ".old.tp.abc.partial").write_text("as files were once written aside")
    (tmp_path / ".others.partial").mkdir()
    with process_at_work(tmp_path / "net.tp"):
        with process_at_work(tmp_path / "dead.tp") as process:
            process.kill()
            process.wait()
        assert remove_leftovers(tmp_path) == 2
        held, other = names(tmp_path)
        assert held.startswith(".net.tp.")
        assert other == ".others.partial"


def test_a_child_does_not_hold_what_its_parent_was_writing(tmp_path: Path) -> None:
    with process_at_work(tmp_path / "net.tp", FORKED) as process:
        process.kill()
        process.wait()
        write(tmp_path / "other.tp", "whole")
        assert names(tmp_path) == ["other.tp"]
