"""The pages for users, and the code blocks in them."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROOT_PAGES = [ROOT / name for name in ("ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")]
"""Pages at the root whose links are looked at, and which stand on the site."""
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
ONLY_PARSED = "only parsed: "
"""How the comment above a block begins whose commands need more than the tests have."""
NEEDS = "needs "
"""How the comment above a block begins that needs a library, whose name follows."""

_BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^>]*) -->\n)?^```(?P<kind>.*)\n(?P<text>(?s:.*?))^```$", re.M
)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, what is in it, and the comment right above it."""

    page: Path
    line: int
    kind: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start("kind")) + 1,
            found["kind"],
            found["text"],
            found["note"] or "",
        )
        for found in _BLOCK.finditer(text)
    ]


def rows_of(page: Path, heading: str) -> list[list[str]]:
    """The cells of the table whose first line is ``heading``."""
    _, found, rest = page.read_text(encoding="utf-8").partition(f"| {heading} |\n")
    assert found, f"{page.name} has no table | {heading} |"
    lines = rest.split("\n\n")[0].splitlines()[1:]
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))
