"""The README's Python runs, and its figures are those of the code."""

import re
from pathlib import Path

import pytest
import torch

import tensorpress as tp

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_python_blocks_run(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "README.md", "exec"), {})
    assert "PCR" in capsys.readouterr().out


def test_there_are_python_blocks() -> None:
    assert BLOCKS


@pytest.mark.parametrize(
    ("label", "network"),
    [
        ("TT-conv-CNN", "tt_conv_cnn"),
        ("ResNet-56", "resnet56"),
        ("ResNet-110", "resnet110"),
        ("VGGnet", "vggnet"),
    ],
)
def test_the_table_of_counts_is_measured(label: str, network: str) -> None:
    row = re.search(rf"^\| {label} \| ([\d,]+) \| \S+ \| ([\d.]+)M \|", README, flags=re.MULTILINE)
    assert row is not None
    cost = tp.count(tp.networks.build(network), torch.zeros(1, 3, 32, 32))
    assert int(row[1].replace(",", "")) == cost.params
    assert float(row[2]) == pytest.approx(cost.macs / 1e6, abs=0.005)
