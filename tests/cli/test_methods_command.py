"""``--method`` and ``--vbmf``: what is written is what the library makes, and reports read it."""

import json
from pathlib import Path

import pytest
import torch
from command import Command

import tensorpress as tp
from tensorpress.layers import DECOMPOSITIONS

QUICK = [
    name
    for name in DECOMPOSITIONS
    if name not in ("cp", "depthwise-separable") and not name.endswith("-reversed")
]
"""Neither sums of terms, which look long for their rank, nor trains in the other order of axes."""


@pytest.mark.parametrize("method", QUICK)
def test_every_method_by_name(method: str, tensorpress: Command, tmp_path: Path) -> None:
    answer = tensorpress(
        *("compress", "--net", "my_nets.own:make", "--energy", "0.5", "--method", method),
        *("-o", "OUT"),
    )
    assert (answer.code, answer.err) == (0, "")
    facts = json.loads((tmp_path / "OUT" / "account.json").read_text())
    assert facts["request"]["method"] == method
    assert any(row["decision"].startswith(method) for row in facts["layers"])


def test_methods_one_by_one_or_by_commas(tensorpress: Command, tmp_path: Path) -> None:
    asked = ("compress", "--net", "my_nets.own:make", "--budget-params", "2", "--method", "auto")
    for given in (("ttpwt,tucker2",), ("ttpwt", "--methods", "tucker2")):
        answer = tensorpress(*asked, "--methods", *given, "-o", "OUT")
        assert (answer.code, answer.err) == (0, "")
        facts = json.loads((tmp_path / "OUT" / "account.json").read_text())
        assert facts["request"]["methods"] == ["ttpwt", "tucker2"]


def test_vbmf(tensorpress: Command, tmp_path: Path) -> None:
    answer = tensorpress(
        *("compress", "--net", "my_nets.own:make", "--method", "tucker2", "--vbmf", "-o", "OUT"),
    )
    assert (answer.code, answer.err) == (0, "")
    from my_nets.own import make

    result = tp.compress(make().eval(), torch.zeros(1, 3, 32, 32), method="tucker2", rank=tp.VBMF())
    assert (tmp_path / "OUT" / "account.txt").read_text() == f"{result}\n"


def test_a_report_of_blocks_and_terms(tensorpress: Command, tmp_path: Path) -> None:
    for method, ranks in (("kronecker", "2,4,4"), ("cp", "6"), ("tensor-ring", "2,2,4,4")):
        made = tensorpress(
            *("compress", "--net", "my_nets.own:make", "--ranks", ranks, "--method", method),
            *("-o", method),
        )
        assert made.code == 0, made.err
        answer = tensorpress("report", method, "--net", "my_nets.own:make", "--no-time")
        assert answer.code == 0, answer.err
        page = next((tmp_path / method).rglob("*.html")).read_text()
        assert f"--method {method}" in page
