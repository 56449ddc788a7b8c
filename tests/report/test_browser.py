"""The page in a browser; what a parser cannot see."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from chromium import Tab, browser, find_chromium
from command import Command
from reporting import NET

from tensorpress.report import Findings, build_page, known_without_networks, read_material
from tensorpress.report.command import Command as CommandLine
from tensorpress.report.spectra import LayerSpectra, StepSpectrum
from tensorpress.report.times import Times

pytestmark = pytest.mark.skipif(find_chromium() is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def page(tensorpress: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tensorpress.report.write.can_plot", lambda: False)
    answer = tensorpress("report", run, "--net", NET, "--no-time", "-o", "PAGE")
    assert (answer.code, answer.err) == (0, "")
    return Path("PAGE/index.html")


def complaints(tab: Tab) -> list[dict[str, Any]]:
    methods = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
    return [event for event in tab.events if event.get("method") in methods]


def requests(tab: Tab) -> list[str]:
    return [
        event["params"]["request"]["url"]
        for event in tab.events
        if event.get("method") == "Network.requestWillBeSent"
    ]


def test_it_fits_every_screen_in_both_modes(tab: Tab, page: Path) -> None:
    grounds = set()
    for width in (360, 1280):
        for scheme in ("light", "dark"):
            tab.open(page, width=width, scheme=scheme)
            assert tab.evaluate("innerWidth") == width
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            grounds.add(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            assert complaints(tab) == []
            assert requests(tab) == [page.resolve().as_uri()]
    assert len(grounds) == 2


def test_no_table_scrolls_sideways_on_a_desk(tab: Tab, compressed: Path, tmp_path: Path) -> None:
    material = read_material(compressed)
    page = tmp_path / "index.html"
    page.write_text(build_page(material, known_without_networks(material)), encoding="utf-8")
    tab.open(page, width=1280, scheme="light")
    wide = (
        "[...document.querySelectorAll('.scroll, pre')].filter(e => e.scrollWidth > e.clientWidth)"
    )
    assert tab.evaluate("document.querySelectorAll('.scroll').length") > 1
    assert tab.evaluate(f"{wide}.length") == 0
    tab.open(page, width=360, scheme="light")
    assert tab.evaluate(f"{wide}.length") > 0


def test_the_keyboard_goes_through_the_page_in_its_order(tab: Tab, page: Path) -> None:
    tab.open(page, width=1280, scheme="light")
    key = {"key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}
    places = []
    for _ in range(60):
        for kind in ("keyDown", "keyUp"):
            tab.call("Input.dispatchKeyEvent", type=kind, **key)
        place = tab.evaluate(FOCUSED)
        if place is None:
            break
        assert place["outline"] == "solid", place
        places.append(place["top"])
    assert len(places) > 12
    assert places == sorted(places)


FOCUSED = """(() => {
  const it = document.activeElement;
  if (it === document.body) return null;
  const top = it.getBoundingClientRect().top + scrollY;
  return {tag: it.tagName, outline: getComputedStyle(it).outlineStyle, top: Math.round(top / 40)};
})()"""


def test_a_layer_is_chosen_with_and_without_javascript(tab: Tab, page: Path) -> None:
    shown = "[...document.querySelectorAll('#spectra details')].map(e => [e.hidden, e.open])"
    tab.open(page, width=1280, scheme="light")
    assert tab.evaluate("document.getElementById('pick').hidden") is False
    assert tab.evaluate(shown) == [[False, True], [True, False]]
    tab.evaluate("document.getElementById('pick-next').click()")
    assert tab.evaluate(shown) == [[True, False], [False, True]]
    tab.evaluate("document.getElementById('pick-next').click()")
    assert tab.evaluate(shown) == [[False, True], [True, False]]
    assert complaints(tab) == []

    tab.open(page, width=1280, scheme="light", scripts=False)
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    folds = [node["name"]["value"] for node in tree if role(node).startswith("Disclosure")]
    assert len([name for name in folds if "ranks" in name]) == 2
    assert not [node for node in tree if role(node) == "combobox"]


def test_what_a_screen_reader_is_told(tab: Tab, page: Path) -> None:
    tab.open(page, width=1280, scheme="light")
    tree = tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = [role(node) for node in tree]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1
    pictures = [node["name"]["value"] for node in tree if role(node) == "image"]
    assert any(name.startswith("Ranks of 2 decomposed layers; R1") for name in pictures)
    assert any(name.startswith("Accuracy on test images") for name in pictures)
    assert len([name for name in pictures if " keeps " in name and " of " in name]) >= 2
    assert all(pictures)
    assert "graphics-symbol" not in roles


def test_code_smuggled_into_the_page_does_not_run(tab: Tab, page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    smuggled = "<img src=x onerror='window.ran=1'><script>window.ran=2</script>"
    page.write_text(text.replace("<main", f"{smuggled}<main"), encoding="utf-8")
    tab.open(page, width=1280, scheme="light")
    assert tab.evaluate("window.ran === undefined") is True


def test_long_names_do_not_widen_it(tab: Tab, run: Path, tmp_path: Path) -> None:
    material = read_material(run)
    assert material.account is not None
    long = "a_name_without_any_space_" * 20
    rows = [replace(row, name=long, decision=long) for row in material.account.layers]
    account = replace(material.account, layers=tuple(rows))
    layer = LayerSpectra(long, (StepSpectrum((0.5, 1.0), 1, 0.4),), 0.5, 0.7)
    spectra = {long: layer, f"{long}2": replace(layer, name=f"{long}2")}
    findings = Findings(
        account, ((9, 9), (8, 8)), spectra, Times(long, 1, alone=1.0), notes=(long,)
    )
    epochs = tuple(replace(epoch, phase=long) for epoch in material.epochs)
    command = CommandLine(long, caveats=(long,))
    wide = replace(
        material, network=long, data=long, unfinished=long, epochs=epochs, command=command
    )
    (tmp_path / "index.html").write_text(build_page(wide, findings), encoding="utf-8")
    for scripts in (True, False):
        tab.open(tmp_path / "index.html", width=360, scheme="light", scripts=scripts)
        assert tab.call("Page.getLayoutMetrics")["cssContentSize"]["width"] == 360


def role(node: dict[str, Any]) -> str:
    return str(node.get("role", {}).get("value")) if not node.get("ignored") else ""
