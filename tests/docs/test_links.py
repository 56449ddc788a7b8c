"""Links and anchors lead somewhere, here and on the site, and every page is in its places."""

import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from pages import NOTEBOOKS, PAGES, ROOT, ROOT_PAGES, name_of

DOCS = ROOT / "docs"
SITE = runpy.run_path(str(ROOT / "scripts" / "docs_site.py"))
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
LINKING = [*PAGES, *ROOT_PAGES, *NOTEBOOKS]
_CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.M | re.S)
_LINK = re.compile(r"\]\(([^)\s]*)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)


def text_of(page: Path) -> str:
    """What a reader sees of a page or a notebook as text."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
    return text


def anchors_of(text: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = _HEADING.findall(re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path, text: str) -> list[str]:
    dead = []
    for link in _LINK.findall(_CODE.sub("", text)):
        target, _, anchor = link.partition("#")
        if target.startswith(("https://", "http://")):
            continue
        file = page.parent / target if target else page
        if not file.exists() or (anchor and anchor not in anchors_of(text_of(file))):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", LINKING, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead_links(page, text_of(page)) == []


def test_dead_links_are_noticed() -> None:
    links = "[a](speed.md) [b](sped.md) [c](speed.md#plans) [d](speed.md#plan) [e](#there)"
    assert dead_links(DOCS / "README.md", links) == ["sped.md", "speed.md#plan", "#there"]


@pytest.mark.parametrize("page", [p for p in LINKING if p != ROOT / "README.md"], ids=name_of)
def test_links_lead_to_pages_of_the_site(page: Path) -> None:
    """What lies outside of docs/ and is no page of the site cannot be linked to from it."""
    site = {SITE["uri_of"](str(file.relative_to(ROOT))) for file in DOCS.rglob("*")}
    site |= set(SITE["ROOT_PAGES"])
    uri = SITE["uri_of"](name_of(page))
    for link in _LINK.findall(_CODE.sub("", text_of(page))):
        target = link.partition("#")[0]
        if target and not target.startswith("https://"):
            found = SITE["site_link"](uri, target)
            assert str((Path("/", uri).parent / found).resolve())[1:] in site, link


def in_nav(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for part in inner for page in in_nav(part)]  # type: ignore[attr-defined]


def test_every_page_is_in_the_navigation_once() -> None:
    pages = [*PAGES[1:], *ROOT_PAGES, *NOTEBOOKS]
    assert sorted(in_nav(CONFIG["nav"])) == sorted(SITE["uri_of"](name_of(page)) for page in pages)


def test_the_index_names_every_page() -> None:
    index = (DOCS / "README.md").read_text(encoding="utf-8")
    for page in [*PAGES[1:], *NOTEBOOKS]:
        assert page == DOCS / "README.md" or f"]({page.relative_to(DOCS)})" in index
