"""docs/api.md is what its script makes of the docstrings."""

import runpy

import pytest
from pages import ROOT

import tensorpress as tp

PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_page_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "scripts" / "make_api_docs.py"))["make_page"]()
    assert made == PAGE, "docs/api.md is not what the docstrings say: run `make docs`"


@pytest.mark.parametrize("name", [*tp.__all__, *tp.networks.__all__, *tp.methods.__all__])
def test_every_public_name_is_there(name: str) -> None:
    assert f"### {name}\n" in PAGE or f"## tensorpress.{name}\n" in PAGE
