"""The scripts that train the rows of results and put them into their page."""

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import make_results_page
import marked_page
import train_result_rows
from make_results_page import _command, put_rows
from train_result_rows import Job, main, run_all

from tensorpress.experiments import Result, read_results, write_results


def wrote(name: str, code: int = 0) -> tuple[Path, list[str]]:
    """A command that adds a letter to a file and ends with that code."""
    return Path(name), [sys.executable, "-c", f"open({name!r}, 'a').write('x'); exit({code})"]


def test_every_file_is_made_once_and_failed_rows_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    nothing = (Path("never"), [sys.executable, "-c", "raise SystemExit(3)"])
    jobs = [
        Job("one", [wrote("small"), wrote("one")]),
        Job("two", [wrote("small"), wrote("two")]),
        Job("bad", [nothing, wrote("after")]),
    ]
    for _ in range(2):
        assert run_all(jobs, tmp_path, 3, None) == 1
    assert all((tmp_path / name).read_text() == "x" for name in ("small", "one", "two"))
    assert not (tmp_path / "after").exists()
    told = capsys.readouterr().out
    assert told.count("one is done") == told.count("two is done") == 2
    assert "bad FAILED with 3: see" in told


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started is ended by SIGINT, also where the tests run with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_nothing_begins_after_the_time_or_after_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").mkdir()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    jobs = [Job("first", [(Path("first"), sleep)]), Job("second", [wrote("second")])]
    assert run_all(jobs, tmp_path, 1, 0.005) == 0
    told = capsys.readouterr().out
    assert "first is not done in time" in told
    assert "second is not done in time" in told

    def interrupted(_: object) -> object:
        time.sleep(0.2)
        raise KeyboardInterrupt

    jobs = [Job("a", [(Path("a"), sleep)]), Job("b", [wrote("b")]), Job("c", [wrote("c")])]
    monkeypatch.setattr(train_result_rows, "as_completed", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all(jobs, tmp_path, 1, None)
    logs = {path.stem for path in (tmp_path / "runs").iterdir()}
    assert {"b", "c"}.isdisjoint(logs)


WAITS = """
import signal, time
def keeps(*_):
    open("kept", "w").close()
    raise SystemExit(130)
signal.signal(signal.SIGINT, keeps)
open("begun", "w").close()
time.sleep(60)
"""
ROW_OF_IT = """
import signal, sys
from pathlib import Path
sys.path.append(sys.argv[1])
import train_result_rows
from train_result_rows import Job
job = Job("waits", [(Path("done"), [sys.executable, "-c", sys.argv[2]])])
train_result_rows.jobs_of = lambda *_: [job]
sys.argv = ["rows", "--weights", ".", "-o", "."]
train_result_rows.main()
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_runs_after_it_has_kept_its_steps(
    sent: signal.Signals, tmp_path: Path
) -> None:
    scripts = str(Path(train_result_rows.__file__).parent)
    script = subprocess.Popen([sys.executable, "-c", ROW_OF_IT, scripts, WAITS], cwd=tmp_path)
    while not (tmp_path / "begun").exists():
        assert script.poll() is None
        time.sleep(0.02)
    script.send_signal(sent)
    assert script.wait(30) == 130
    assert (tmp_path / "kept").exists()


def test_what_stands_after_the_dashes_is_part_of_the_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--", "--lr", "0.001", "--alpha=1"]
    given = ["rows", "--weights", "W", "-o", str(tmp_path), "--only", "c100", "--list", *more]
    monkeypatch.setattr(sys, "argv", given)
    main()
    lines = capsys.readouterr().out.splitlines()
    assert "c100-auto-4-40-lr-0.001-alpha-1-s0" in lines
    assert "--alpha=1 -o runs/c100-auto-4-40-lr-0.001-alpha-1-s0" in "".join(lines)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--only", "r20,nothing"], "no row begins with nothing: their names begin with c100, r20"),
        (["--jobs", "0"], "--jobs: 0: give 1 or more"),
        (["--epochs", "-1"], "--epochs: -1: give 0 or more"),
        (["--minutes", "nan"], "--minutes: nan: give more than 0"),
        (["-o", "file/x"], "cannot write in file/x: Not a directory"),
    ],
)
def test_what_is_given_wrong_is_told_in_a_line(
    options: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    monkeypatch.setattr(sys, "argv", ["rows", "--weights", "W", "-o", "OUT", *options])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert told in capsys.readouterr().err.splitlines()[-1]
    assert not Path("OUT").exists()


def test_rows_are_chosen_by_what_their_names_begin_with_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "OUT").symlink_to(tmp_path / "far" / "away")
    only = ["--only", "r20-dense, tt-dense,", "--list"]
    monkeypatch.setattr(sys, "argv", ["rows", "--weights", "W", "-o", "OUT", *only])
    main()
    lines = capsys.readouterr().out.splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert names == [*(f"r20-dense-40-s{seed}" for seed in range(3)), "tt-dense-40-s0"]
    words = shlex.split(lines[1])
    weights = words[words.index("--weights") + 1]
    assert (tmp_path / "OUT" / weights).resolve().parent == tmp_path / "W"


def test_a_row_tells_every_command_that_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train = "tensorpress train --net tt_conv_cnn -o base"
    compress = "tensorpress compress --weights=base/baseline.pt -o small"
    tune = "tensorpress finetune --compressed small/model.tp --teacher base/baseline.pt -o run"
    again = "tensorpress finetune --compressed=run/model.tp -o /far/again --data '/my data/x y'"
    for file, command in (
        ("base/config.json", train),
        ("small/account.json", compress),
        ("run/config.json", tune),
    ):
        Path(file).parent.mkdir()
        Path(file).write_text(json.dumps({"command": command}))
    shown = "tensorpress finetune --compressed=run/model.tp -o again --data 'x y'"
    assert _command(again) == "; ".join([train, compress, tune, shown])
    known = "tensorpress train --weights ../resnet20.th -o run"
    assert _command(known) == known
    assert capsys.readouterr().out == ""
    lost = "tensorpress finetune --compressed gone/model.tp -o run"
    assert _command(lost) == lost
    assert "gone/model.tp has no command beside it" in capsys.readouterr().out
    itself = "tensorpress train --weights self/baseline.pt -o self"
    Path("self").mkdir()
    Path("self/config.json").write_text(json.dumps({"command": itself}))
    assert _command(itself) == itself


ROW = Result(
    *("net", "digits", "dense", 1.0, 1.0, 90.0, 90.0, 0.0, None, 360, 1.6, 0, 0, "c", "m"),
    baseline="net.th (sha256 01234567)",
)


def test_a_network_that_is_replaced_takes_its_row_in_int8_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_results_page, "ROWS", tmp_path / "results.json")
    for module in (make_results_page, marked_page):
        monkeypatch.setattr(module, "DOCS", tmp_path)
    (tmp_path / "results.md").write_text("<!-- rows -->\n<!-- end of rows -->")
    of_int8 = replace(ROW, is_int8=True, acc=89.0, dacc=-1.0)
    other = replace(of_int8, seed=1)
    write_results(tmp_path / "results.json", [ROW, of_int8, other])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").touch()
    for accuracy, left in ((90.0, [ROW, of_int8, other]), (91.0, [replace(ROW, acc=91.0), other])):
        found = replace(ROW, acc=accuracy)
        monkeypatch.setattr(make_results_page, "result_in", lambda _, found=found: found)
        (tmp_path / "run.log").touch()
        put_rows([tmp_path / "run", tmp_path / "run.log"], int8=False)
        assert read_results(tmp_path / "results.json") == left
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{tmp_path / 'run'} replaces a network: the row of that one in int8 is left out"
    ]
    assert "91.00 ± 1.60" in (tmp_path / "results.md").read_text()


@pytest.mark.parametrize("given", ["nowhere", "nowhere.json", "damaged.json"])
def test_a_run_that_is_not_there_is_told_in_a_line(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("damaged.json").write_text("[{")
    monkeypatch.setattr(sys, "argv", ["page", given])
    with pytest.raises(SystemExit, match=rf"^error: .*{given}"):
        make_results_page.main()
