"""Pages of which a part, between two marks, is made."""

from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def put(page: str, name: str, made: str) -> None:
    """Write ``made`` between ``<!-- NAME -->`` and ``<!-- end of NAME -->`` of a page in docs/."""
    path = DOCS / page
    before, mark, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    _, end, after = rest.partition(f"<!-- end of {name} -->")
    assert mark, f"docs/{page} has no mark of {name}"
    assert end, f"docs/{page} does not say where {name} ends"
    path.write_text(before + mark + made + end + after, encoding="utf-8")
