"""Every code block of every page runs, from top to bottom in one folder, as a reader would do it.

Commands of blocks that need data or weights that the tests do not have are parsed instead. Blocks
of kind "text" are output.
"""

import doctest
import re
import sys
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import check, command_lines, hurried, parse
from pages import NEEDS, ONLY_PARSED, PAGES, ROOT, Block, blocks_of, name_of

import tensorpress as tp
from tensorpress.cli import main
from tensorpress.networks import resnet


class Shallow(resnet.ResNet):
    """One block a stage: what a page does with a ResNet is done in a third of the time."""

    def __init__(self, blocks: int, *arguments: Any, **options: Any) -> None:
        super().__init__(min(blocks, 1), *arguments, **options)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory, whose modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("tensorpress.report.write.can_plot", lambda: False)
    known = set(sys.modules)
    torch.manual_seed(0)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.mark.usefixtures("measured_once")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_runs(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(words: list[str]) -> None:
        monkeypatch.setattr(sys, "argv", ["tensorpress", *hurried(words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code, capsys.readouterr().err

    if page.name != "api.md":  # whose numbers are compared
        monkeypatch.setattr(resnet, "ResNet", Shallow)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(page):
        run_block(block, place, names, call)
    if page == ROOT / "README.md":
        assert "PCR" in capsys.readouterr().out


NEEDY = [
    (page, block.note.removeprefix(NEEDS))
    for page in PAGES
    for block in blocks_of(page)
    if block.note.startswith(NEEDS)
]


@pytest.mark.usefixtures("place")
@pytest.mark.parametrize(("page", "library"), NEEDY, ids=lambda it: str(it).rpartition("/")[2])
def test_blocks_that_need_a_library(page: Path, library: str, place: Path) -> None:
    """They run after the blocks above them that need none."""
    pytest.importorskip(library)
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks_of(page):
        if block.kind == "python":
            run_block(block, place, names, None, library)
    # Two epochs of two steps, the second after a resumption.
    ended = names["module"].trainer if library == "lightning" else names["ended"]
    assert ended.global_step == 4
    written = tp.artifacts.read_manifest(place / f"{library}.tp")
    assert written.layers == tp.artifacts.entries.entries_in(names["small"])


def run_block(
    block: Block, place: Path, names: dict[str, Any], call: Any, library: str | None = None
) -> None:
    if block.kind == "python":
        write_named(block, place)
        code = compile(block.text, str(block), "exec")
        needs = block.note.startswith(NEEDS) and block.note != f"{NEEDS}{library}"
        if not needs and not block.note.startswith(ONLY_PARSED):
            exec(code, names)
    elif block.kind == "toml":
        write_named(block, place)
        tomllib.loads(block.text)
    elif block.kind == "pycon":
        run_examples(block)
    elif block.kind == "console":
        parsed = block.note.startswith(ONLY_PARSED)
        for words in command_lines(block.text):
            try:
                check(words, parse if parsed else call)
            except Exception as error:
                raise AssertionError(f"{block}: {' '.join(words)}: {error}") from error
    else:
        assert block.kind == "text", f"{block}: nothing is known of '{block.kind}'"


def write_named(block: Block, place: Path) -> None:
    """A block that begins with the name of a file is that file."""
    named = re.match(r"# (\w+\.(?:py|toml))\n", block.text)
    if named:
        (place / named[1]).write_text(block.text, encoding="utf-8")


def run_examples(block: Block) -> None:
    """Examples of docstrings, which know tensorpress's names, ``torch`` and ``nn``."""
    public = {name: getattr(tp, name) for name in tp.__all__}  # loaded when they are used
    names = {**vars(tp.networks), **public, "torch": torch, "nn": torch.nn}
    test = doctest.DocTestParser().get_doctest(
        block.text, names, str(block), str(block.page), block.line
    )
    said: list[str] = []
    assert doctest.DocTestRunner().run(test, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize(
    "line",
    ["tensorpress compress --nett x", "tensorpress squeeze", "make coffee", "pip install .[tea]"],
)
def test_what_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(AssertionError):
        check(line.split(), parse)


def test_most_blocks_are_run() -> None:
    blocks = [block for page in PAGES for block in blocks_of(page)]
    console = [block for block in blocks if block.kind == "console"]
    assert any(block.kind == "python" for block in blocks_of(ROOT / "README.md"))
    assert sum(block.kind == "python" for block in blocks) >= 10
    assert sum(not block.note.startswith(ONLY_PARSED) for block in console) >= 5


def test_no_two_pages_write_to_the_same_folder() -> None:
    """A reader may follow all of them in one folder."""
    writers: dict[str, set[str]] = {}
    for page in PAGES:
        for block in blocks_of(page):
            if block.kind == "console" and not block.note.startswith(ONLY_PARSED):
                for words in command_lines(block.text):
                    for place in (after for o, after in pairwise(words) if o == "-o"):
                        writers.setdefault(place, set()).add(page.name)
    assert writers
    assert {place: pages for place, pages in writers.items() if len(pages) > 1} == {}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_fence_is_of_a_block(page: Path) -> None:
    fences = re.findall(r"^ *(?:```|~~~)", page.read_text(encoding="utf-8"), re.M)
    assert len(fences) == 2 * len(blocks_of(page))
