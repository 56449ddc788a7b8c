"""Run the notebooks in docs/ from top to bottom and store what they print: `make notebooks`."""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

NOTEBOOKS = Path(__file__).parents[1] / "docs" / "notebooks"


def main() -> None:
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            run(notebook, path.name)
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run(notebook: dict[str, Any], name: str) -> dict[str, Any]:
    """Run the cells of code in the working directory, store their outputs, and give their names."""
    names: dict[str, Any] = {"__name__": "notebook"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, 1):
        printed = io.StringIO()
        code = compile("".join(cell["source"]), f"{name}, cell {number}", "exec")
        with contextlib.redirect_stdout(printed):
            exec(code, names)
        lines = printed.getvalue().splitlines(keepends=True)
        said = [{"output_type": "stream", "name": "stdout", "text": lines}] if lines else []
        cell.update(execution_count=number, outputs=said)
    return names


if __name__ == "__main__":
    main()
