"""A page read as a browser's parser would complain about it."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise

VOID = {"meta", "br", "link", "img", "input"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    text: str = ""
    children: list["Element"] = field(default_factory=list)

    def all(self, tag: str) -> list["Element"]:
        """Every element of this tag inside, in order."""
        found = [self] if self.tag == tag else []
        for child in self.children:
            found += child.all(tag)
        return found

    @property
    def words(self) -> str:
        """All text inside, with single spaces."""
        return " ".join(self.text.split())


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("root", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> repeats an attribute: {names}"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open[-1].tag in ("script", "style"):
            return
        for element in self.open:
            element.text += data + " "


def read_page(text: str) -> Element:
    """The page as a tree; fails on elements that are not closed in order."""
    assert text.startswith("<!doctype html>\n<html lang=")
    reader = _Reader()
    reader.feed(text.removeprefix("<!doctype html>\n"))
    reader.close()
    assert reader.open == [reader.root], f"left open: {[e.tag for e in reader.open[1:]]}"
    return reader.root.children[0]


def check_page(text: str) -> Element:
    """What holds for every report; gives the page's tree."""
    page = read_page(text)
    everything = _all(page)
    ids = [e.attributes["id"] for e in everything if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    _check_references(everything, set(ids))
    _check_structure(page)
    for drawing in page.all("svg"):
        named = drawing.attributes.get("role") == "img" and drawing.attributes.get("aria-label")
        inner = "viewbox" in drawing.attributes
        assert named or inner or drawing.attributes.get("aria-hidden") == "true"
    for table in page.all("table"):
        assert table.children[0].tag == "caption"
        assert table.children[0].words
        assert all(head.attributes.get("scope") in ("row", "col") for head in table.all("th"))
        widths = {len(row.children) for row in table.all("tr")}
        assert len(widths) == 1
    return page


def _check_references(everything: list[Element], ids: set[str | None]) -> None:
    for element in everything:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), f"<{element.tag}> has a handler {name}"
            assert name not in ("src", "style", "srcset", "action", "xlink:href")
            if name == "href":
                assert value
                assert value[0] == "#", f"a link leaves the page: {value}"
                assert value[1:] in ids
            if name in ("aria-labelledby", "for"):
                assert value in ids
    assert not {e.tag for e in everything} & {"link", "img", "iframe", "object", "embed", "base"}


def _check_structure(page: Element) -> None:
    assert page.attributes["lang"] == "en"
    assert len(page.all("title")[0].words) > 3
    metas = {m.attributes.get("name"): m.attributes.get("content") for m in page.all("meta")}
    assert metas["viewport"] == "width=device-width, initial-scale=1"
    headings = [int(e.tag[1]) for e in _all(page) if e.tag in ("h1", "h2", "h3", "h4")]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(next_ <= here + 1 for here, next_ in pairwise(headings))
    for landmark in ("header", "nav", "main", "footer"):
        assert len(page.all(landmark)) == 1


def _all(element: Element) -> list[Element]:
    return [element, *(inner for child in element.children for inner in _all(child))]
