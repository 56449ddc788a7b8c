"""The lowest versions that are claimed are those that `make test-lowest` installs."""

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = ("train", "report", "onnx", "openvino", "prune")
PINS = dict(
    re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints-lowest.txt").read_text("utf-8"), re.M)
)
CLAIMED = [
    Requirement(text)
    for group in (
        PROJECT["dependencies"],
        *(PROJECT["optional-dependencies"][extra] for extra in EXTRAS),
    )
    for text in group
]


@pytest.mark.parametrize("claim", CLAIMED, ids=str)
def test_each_claim_is_pinned_at_its_lower_bound(claim: Requirement) -> None:
    (bound,) = (clause for clause in claim.specifier if clause.operator == ">=")
    assert Version(PINS[claim.name]) == Version(bound.version)


@pytest.mark.parametrize("claim", CLAIMED, ids=str)
def test_what_is_installed_fits_the_claim(claim: Requirement) -> None:
    assert claim.specifier.contains(version(claim.name), prereleases=True)
