import os
import re
import subprocess
import sys

import pytest
from command import Command

COLOUR = re.compile(r"\x1b\[[\d;]*?\b(3[0-8]|4[0-8]|9[0-7]|10[0-7])[\d;]*m")


@pytest.mark.parametrize("words", [["--help"], ["compress", "--help"], ["no-such-command"]])
def test_no_color_leaves_colours_out(words: list[str]) -> None:
    said = []
    for wish in ({}, {"NO_COLOR": "1"}):
        kept = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
        done = subprocess.run(
            [sys.executable, "-m", "tensorpress", *words],
            capture_output=True,
            text=True,
            env={**kept, "FORCE_COLOR": "1", "TERM": "xterm-256color", **wish},
            check=False,
        )
        said.append(COLOUR.search(done.stdout + done.stderr) is not None)
    assert said == [True, False]


@pytest.mark.parametrize(
    ("raised", "code"), [("KeyboardInterrupt", 130), ("RuntimeError", 1), ("TensorpressError", 2)]
)
def test_what_ends_a_command_is_told_by_its_exit_code(raised: str, code: int) -> None:
    program = f"""
import sys
from tensorpress.cli import main
from tensorpress.errors import TensorpressError
from tensorpress.cli.work import doctor
def fails(**_):
    raise {raised}("for a test")
doctor.doctor = fails
sys.argv = ["tensorpress", "doctor"]
main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == code
    assert ("Traceback" in done.stderr) == (code == 1)


@pytest.mark.parametrize("words", [["no-such-command"], ["evaluate", "--no-such-option"]])
def test_what_is_no_command_line_ends_with_2(words: list[str], tensorpress: Command) -> None:
    assert tensorpress(*words).code == 2


def test_exit_codes_are_told(tensorpress: Command) -> None:
    told = " ".join(tensorpress("--help").out.split())
    assert all(f"{code} " in told for code in (0, 1, 2, 130))
    assert "Exit codes" in told
