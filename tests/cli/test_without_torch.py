import json
import subprocess
import sys

import pytest

import tensorpress as tp
from tensorpress import choices
from tensorpress.cli.app import app
from tensorpress.compression import CRITERIA
from tensorpress.deploy import RUNTIMES
from tensorpress.deploy.planning import setting
from tensorpress.layers import DECOMPOSITIONS, METHODS
from tensorpress.ranks import VBMF

COMMANDS = [command.name for command in app.registered_commands]
ASK = """
import json, sys
from tensorpress.cli import main
try:
    main()
finally:
    print(json.dumps([name for name in ("torch", "numpy") if name in sys.modules]), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "words", [["--version"], ["--help"], *([str(name), "--help"] for name in COMMANDS)]
)
def test_what_a_command_takes_is_told_without_pytorch(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ASK, *words], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip()
    assert json.loads(done.stderr) == []


def test_every_public_name_is_found_where_it_is_said_to_be() -> None:
    for name in tp.__all__:
        assert getattr(tp, name) is not None
    assert set(tp.__all__) <= set(dir(tp))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tp.nothing  # type: ignore[attr-defined]  # noqa: B018


def test_names_are_those_of_the_tables() -> None:
    assert tuple(METHODS) == choices.METHODS
    assert tuple(DECOMPOSITIONS) == choices.DECOMPOSITIONS
    assert tuple(CRITERIA) == choices.CRITERIA
    assert tuple(RUNTIMES) == choices.RUNTIMES
    assert tuple(n for n, method in METHODS.items() if VBMF in method.rules) == choices.KNOW_VBMF
    assert (setting.PRECISIONS[0], setting.PRECISIONS[-1]) == (choices.AUTO, choices.INT8)
