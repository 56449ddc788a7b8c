"""--quiet and --json, which every command has: what is printed, and where."""

import errno
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from command import Command

from tensorpress.cli.app import app
from tensorpress.cli.printer import Printer, printing
from tensorpress.errors import TensorpressError
from tensorpress.progress import announce, track, warn

OWN = "--net my_nets.own:make"
# what follows the command; what --quiet prints of it, None for the result
GIVEN: dict[str, tuple[str, str | None]] = {
    "compress": (f"{OWN} --energy 0.8 --data CIFAR -o OUT", "OUT/model.tp"),
    "explore": (f"{OWN} --calibrate inputs.npy --ratios 1.2 --include 2", None),
    "evaluate": (f"{OWN} --data CIFAR", None),
    "export": (f"{OWN} --compressed SMALL/model.tp -o model.pt2", "model.pt2"),
    "bench": (
        f"{OWN} --compressed SMALL/model.tp --runtimes torch --seconds 0 --no-cache -o OUT",
        "OUT",
    ),
    "train": (f"{OWN} --data CIFAR --epochs 1 -o OUT", "OUT/model.tp"),
    "finetune": (
        f"{OWN} --compressed SMALL/model.tp --data CIFAR --epochs 1 -o OUT",
        "OUT/model.tp",
    ),
    "run": (
        f"{OWN} --data CIFAR --energy 0.8 --epochs 1 --calibration-images 0 -o OUT",
        "OUT/model.tp",
    ),
    "report": (f"SMALL {OWN} --no-time -o OUT", "OUT/index.html"),
    "compare": (f"{OWN} --data CIFAR --methods ttpwt --budget-macs 1.3 -o OUT", "OUT"),
    "doctor": ("", None),
    "reproduce": ("table1", None),
}


HOLDS = {
    "compress": "OUT/account.json",
    "bench": "OUT/bench.json",
    "train": "OUT/summary.json",
    "run": "OUT/summary.json",
    "compare": "OUT/compare.json",
}
"""The file that holds the same document."""
WARNED = ("compress", "explore", "evaluate", "compare")
"""Of a network without trained weights."""
SLOW = ("bench", "explore", "compare", "report")


def warnings_alone(err: str) -> bool:
    """Whether there is a warning; nothing else may be there."""
    assert all(line.startswith("NO WEIGHTS") for line in err.splitlines()), err
    return bool(err)


def words(command: str, cifar: Path) -> list[str]:
    return [command, *GIVEN[command][0].replace("CIFAR", str(cifar)).split()]


@pytest.fixture
def small(tensorpress: Command) -> None:
    """What some of the commands work on."""
    drawn = np.random.default_rng(0).standard_normal((16, 3, 32, 32), dtype=np.float32)
    np.save("inputs.npy", drawn)
    assert tensorpress("compress", *OWN.split(), "--energy", "0.8", "-o", "SMALL").code == 0


def test_every_command_is_tried() -> None:
    commands = {command.name for command in app.registered_commands}
    assert commands - set(GIVEN) == {"demo"}, "which test_commands.py runs once"


@pytest.mark.usefixtures("small", "measured_once")
@pytest.mark.parametrize("command", GIVEN)
def test_json_is_all_that_is_printed(command: str, tensorpress: Command, cifar: Path) -> None:
    answer = tensorpress(*words(command, cifar), "--json", "-q")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert isinstance(told, dict)
    assert told
    assert warnings_alone(answer.err) == (command in WARNED)
    if command in HOLDS:
        assert told == json.loads(Path(HOLDS[command]).read_text())


@pytest.mark.parametrize("command", ["compress", "train"])
def test_notes_and_progress_stand_beside_json(
    command: str, tensorpress: Command, cifar: Path
) -> None:
    answer = tensorpress(*words(command, cifar), "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out) == json.loads(Path(HOLDS[command]).read_text())
    assert f"written to {GIVEN[command][1]}" in answer.err
    assert ("epoch 1/1" in answer.err) == (command == "train")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("command", [name for name in GIVEN if name not in SLOW])
def test_quiet_prints_what_was_written_or_the_result(
    command: str, tensorpress: Command, cifar: Path
) -> None:
    answer = tensorpress(*words(command, cifar), "--quiet")
    assert answer.code == 0, answer.err
    written = GIVEN[command][1]
    if written is None:
        assert answer.out.strip()
    else:
        assert answer.out == f"{written}\n"
        assert Path(written).exists()
    assert warnings_alone(answer.err) == (command in WARNED)


@pytest.mark.parametrize("wish", [["--json"], ["-q"], ["--json", "-q"]])
def test_a_mistake_is_one_line_and_no_result(
    wish: list[str], tensorpress: Command, cifar: Path
) -> None:
    given = ["--data", cifar, "--budget-macs", "900", "--methods", "ttpwt", "-o", "OUT"]
    answer = tensorpress("compare", *OWN.split(), *given, *wish)
    assert (answer.code, answer.out) == (2, "")
    errors = [line for line in answer.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert ("ttpwt at FCR 900" in answer.err) == ("-q" not in wish)  # a note


def chatter(printer: Printer) -> None:
    """What code of the user's and of this package says while a command works."""
    print("by code of the user's")
    announce("how far it is")
    warn("what matters")
    assert list(track([1, 2], "working")) == [1, 2]
    printer.note("what to do next")
    printer.result("a table")
    printer.values({"rows": 1})


@pytest.mark.parametrize(
    ("quiet", "as_json", "out", "err"),
    [
        (
            False,
            False,
            "by code of the user's\nwhat to do next\na table\n",
            "how far it is\nwhat matters\n",
        ),
        (True, False, "a table\n", "what matters\n"),
        (
            False,
            True,
            '{\n "rows": 1\n}\n',
            "by code of the user's\nhow far it is\nwhat matters\nwhat to do next\n",
        ),
        (True, True, '{\n "rows": 1\n}\n', "what matters\n"),
    ],
)
def test_what_goes_where(
    quiet: bool, as_json: bool, out: str, err: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with printing(quiet=quiet, as_json=as_json) as printer:
        chatter(printer)
    assert capfd.readouterr() == (out, err)
    announce("progress is back")
    assert capfd.readouterr().err == "progress is back\n"


@pytest.mark.parametrize(("quiet", "as_json"), [(True, False), (False, True), (True, True)])
def test_an_error_leaves_the_result_out(
    quiet: bool, as_json: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        with printing(quiet=quiet, as_json=as_json) as printer:
            chatter(printer)
            raise TensorpressError("wrong")

    with pytest.raises(TensorpressError):
        fail()
    assert capfd.readouterr().out == ""


class Ended(io.StringIO):
    """What takes one line and no more."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def write(self, text: str) -> int:
        if self.getvalue():
            raise OSError(self.number, "no more")
        return super().write(text)


@pytest.mark.parametrize(
    ("number", "error"), [(errno.EPIPE, BrokenPipeError), (errno.ENOSPC, TensorpressError)]
)
def test_work_goes_on_where_nobody_listens(
    number: int, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of `tensorpress compress ... | head`: what was computed is written, and then it ends."""
    monkeypatch.setattr(sys, "stdout", Ended(number))
    done = []

    def work() -> None:
        with printing(quiet=False, as_json=False) as printer:
            for line in ("first", "second", "third"):
                printer.result(line)
                printer.note(line)
            done.append("written")

    with pytest.raises(error, match="no more"):
        work()
    assert done == ["written"]
    assert "first" in sys.stdout.getvalue()


def test_where_nobody_listens_it_ends_as_shells_have_it(
    tensorpress: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # both are replaced by what says nothing
    monkeypatch.setattr(sys, "stdout", Ended(errno.EPIPE))
    answer = tensorpress("compress", *OWN.split(), "--energy", "0.8", "-o", "OUT")
    assert (answer.code, answer.err) == (141, "")
    assert Path("OUT/model.tp").exists()


def test_a_terminal_that_does_not_know_a_character(
    tensorpress: Command, cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="ascii"))
    assert tensorpress(*words("evaluate", cifar)).code == 0
    sys.stdout.flush()
    assert b" % ? " in kept.getvalue()


def test_names_of_files_that_are_no_text_are_printed_as_they_are(
    tensorpress: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(kept, encoding="utf-8"))
    given = [*OWN.split(), "--energy", "0.8", "--quiet", "-o", "odd\udcff"]
    assert tensorpress("compress", *given).code == 0
    sys.stdout.flush()
    assert kept.getvalue() == b"odd\xff/model.tp\n"
