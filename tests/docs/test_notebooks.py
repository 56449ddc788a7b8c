"""The notebooks run from top to bottom, and what they show is of such a run."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from pages import NOTEBOOKS, ROOT, name_of

RUN = runpy.run_path(str(ROOT / "scripts" / "run_notebooks.py"))["run"]
PAGE = runpy.run_path(str(ROOT / "scripts" / "docs_site.py"))["notebook_page"]


def printed(notebook: dict) -> list[str]:
    """What each cell of code printed."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return ["".join(line for said in c["outputs"] for line in said["text"]) for c in cells]


@pytest.mark.usefixtures("measured_once")
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_it_runs_and_prints_what_is_stored(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stored = json.loads(path.read_text(encoding="utf-8"))
    made = json.loads(path.read_text(encoding="utf-8"))
    torch.manual_seed(1)  # the notebook sets its own
    names = RUN(made, path.name)
    assert names["result" if path.stem == "digits" else "account"].fcr >= 3
    assert any(printed(stored))
    for once, again in zip(printed(stored), printed(made), strict=True):
        # Digits depend on the processor; which layers there are and what is said of them does not.
        assert [line.split()[:1] for line in once.splitlines()] == [
            line.split()[:1] for line in again.splitlines()
        ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name_of)
def test_it_is_a_notebook(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    cells = notebook["cells"]
    assert len({cell["id"] for cell in cells}) == len(cells)
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))


def test_a_cell_that_fails_is_named() -> None:
    cell = {"cell_type": "code", "source": ["print(1)\n", "assert False"]}
    with pytest.raises(AssertionError) as raised:
        RUN({"cells": [{"cell_type": "markdown", "source": ["# A"]}, cell]}, "a.ipynb")
    assert str(raised.traceback[-1].path).endswith("a.ipynb, cell 1")


def test_the_page_of_a_notebook_shows_code_and_output() -> None:
    cell = {"cell_type": "code", "source": ["print(1)"], "outputs": [{"text": ["1\n"]}]}
    page = PAGE(
        json.dumps({"cells": [{"cell_type": "markdown", "source": ["# A"]}, cell]}), "a.ipynb"
    )
    assert page.startswith("# A\n")
    assert page.endswith("```python\nprint(1)\n```\n\n```text\n1\n```\n")
    assert 'href="a.ipynb"' in page
