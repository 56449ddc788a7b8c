import subprocess
import sys
from pathlib import Path

import pytest

import tensorpress as tp
from tensorpress.files import LOCK, locked

HOLD = """
import sys
from pathlib import Path
from tensorpress.files import locked
with locked(Path(sys.argv[1]), leave_file=False):
    print("held", flush=True)
    sys.stdin.readline()
"""


def test_another_process_is_refused_until_the_first_is_done(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(
            tp.TensorpressError, match=f"in use by a live process .pid {holder.pid}"
        ):
            locked(folder).__enter__()
        holder.stdin.write("\n")
        holder.stdin.close()
        assert holder.wait() == 0
    assert list(folder.iterdir()) == []
    with locked(folder):
        assert (folder / LOCK).exists()


def test_a_lock_that_was_removed_by_its_last_holder_is_taken_anew(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        with locked(tmp_path):
            held = (tmp_path / LOCK).stat().st_ino
        with locked(tmp_path):
            assert (tmp_path / LOCK).stat().st_ino == held


def test_the_file_goes_even_when_the_work_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path, leave_file=False):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
