import errno
import os
from pathlib import Path

import pytest

from tensorpress.errors import TensorpressError
from tensorpress.files import refuse_no_file, staged


def write_pair(place: Path, content: str) -> None:
    place.write_text(content)
    place.with_suffix(".bin").write_text(f"{content} weights")


def write_and_fail(path: Path) -> None:
    with staged(path) as place:
        write_pair(place, "new")
        raise ZeroDivisionError


def read_pair(path: Path) -> tuple[str, str]:
    return path.read_text(), path.with_suffix(".bin").read_text()


def test_all_files_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "a" / "net.xml"
    for content in ("first", "second"):
        with staged(path) as place:
            write_pair(place, content)
            assert place.parent.parent.parent == path.parent
    assert read_pair(path) == ("second", "second weights")
    assert sorted(file.name for file in path.parent.iterdir()) == ["net.bin", "net.xml"]


@pytest.mark.parametrize("name", [".lock", "replaced", "new"])
def test_names_that_are_used_aside_are_names_like_others(name: str, tmp_path: Path) -> None:
    with staged(tmp_path / name) as place:
        place.write_text("content")
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "content"


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    write_pair(tmp_path / "net.xml", "old")
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "net.xml")
    assert read_pair(tmp_path / "net.xml") == ("old", "old weights")
    assert len(list(tmp_path.iterdir())) == 2


def test_folders_made_for_nothing_go_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "a" / "b" / "net.xml")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failing", range(4))
def test_at_every_step_of_the_move_an_error_undoes_it_and_a_crash_mixes_nothing(
    failing: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net.xml"
    write_pair(path, "old")
    moves = 0
    seen: list[set[str]] = []
    replace = os.replace

    def replace_some(source: Path, target: Path) -> None:
        nonlocal moves
        seen.append(
            {f.read_text().split()[0] for f in (path, path.with_suffix(".bin")) if f.exists()}
        )
        moves += 1
        if moves == failing + 1:
            raise OSError(5, "Input/output error")
        replace(source, target)

    monkeypatch.setattr(os, "replace", replace_some)
    with pytest.raises(TensorpressError, match="Input/output error"), staged(path) as place:
        write_pair(place, "new")
    assert moves > failing
    # With both in place they are of one network; a lone .bin is no model.
    assert all(len(pair) <= 1 for pair in seen)
    assert read_pair(path) == ("old", "old weights")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes of POSIX")
def test_a_pipe_is_no_file_and_stays(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (
        pytest.raises(TensorpressError, match="it is no file, but a device, a pipe"),
        staged(tmp_path / "pipe") as place,
    ):
        place.write_text("new")
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_place_that_may_not_be_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "is_dir", denied)
    with pytest.raises(TensorpressError, match="Permission denied: choose another place"):
        refuse_no_file(tmp_path / "a" / "b")
