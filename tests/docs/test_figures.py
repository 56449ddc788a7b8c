"""Figures on the pages are those of the code, where they can be had in a moment."""

import dataclasses

import pytest
import torch
from pages import ROOT, rows_of

import tensorpress as tp

DOCS = ROOT / "docs"
IMAGE = torch.zeros(1, 3, 32, 32)
NETWORKS = {
    "TT-conv-CNN": "tt_conv_cnn",
    "ResNet-56": "resnet56",
    "ResNet-110": "resnet110",
    "VGGnet": "vggnet",
}


def test_the_table_of_counts_is_measured() -> None:
    rows = rows_of(DOCS / "method.md", "network | params | paper | MACs | paper")
    assert [label for label, *_ in rows] == list(NETWORKS)
    for label, params, _, macs, _ in rows:
        cost = tp.count(tp.networks.build(NETWORKS[label]), IMAGE)
        assert int(params.replace(",", "")) == cost.params
        assert float(macs.rstrip("M")) == pytest.approx(cost.macs / 1e6, abs=0.005)


def test_the_two_readings_of_the_threshold_are_measured() -> None:
    heading = "network | tau | PCR, paper | `Energy(tau)`, eq. 14 | `SingularSum(tau)`"
    rows = rows_of(DOCS / "method.md", heading)
    assert len(rows) == 4
    for label, tau, _, *printed in rows:
        if label == "VGGnet":  # takes seconds
            continue
        torch.manual_seed(0)
        net = tp.networks.build(NETWORKS[label]).eval()
        for rule, pcr in zip((tp.Energy, tp.SingularSum), printed, strict=True):
            found = tp.compress(net, IMAGE, rank=rule(float(tau))).pcr
            assert float(pcr) == pytest.approx(found, abs=0.05)


def test_the_table_of_bad_days_is_that_of_the_benchmark() -> None:
    benchmark = (ROOT / "benchmarks" / "bad_days.py").read_text(encoding="utf-8")
    page = (DOCS / "robustness.md").read_text(encoding="utf-8")
    assert page.count("<!-- table -->") == page.count("<!-- /table -->") == 1
    rows = rows_of(DOCS / "robustness.md", "tried | times | refused | survived | lost")
    assert len(rows) == 9
    for what, *numbers in rows:
        assert f'"{what}"' in benchmark
        times, refused, survived, lost = (int(n.replace(",", "")) for n in numbers)
        assert times == refused + survived + lost
        assert lost == 0


def test_sizes_follow_from_the_bytes() -> None:
    heading = "network | dense `.th` | `model.tp`, float32 | float16"
    for row in rows_of(DOCS / "deployment.md", heading):
        dense, *files = (cell.replace(",", "").rstrip(")").split(" (") for cell in row[1:])
        for size, ratio in files:
            assert float(ratio.split()[0]) == pytest.approx(int(dense[0]) / int(size), abs=0.005)


def test_the_steps_of_calibration_are_those_of_the_code() -> None:
    rows = rows_of(DOCS / "calibration.md", "`tp.Recovery` | default | off")
    fields = dataclasses.fields(tp.Recovery)
    assert [row[:2] for row in rows] == [[f"`{f.name}`", str(f.default)] for f in fields]
