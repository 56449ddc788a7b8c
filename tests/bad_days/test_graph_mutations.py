"""Each altered ONNX file is one line or a compressed file; ``make bench-bad-days`` tries 2,000."""

import random
from pathlib import Path

import pytest
from graph_mutations import NAMED, came_of, good_files

from tensorpress.progress.lines import ProgressLines


@pytest.mark.parametrize("name", NAMED)
def test_altered(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProgressLines, "say_if_due", lambda _: None)
    good = good_files(tmp_path)
    place = tmp_path / "tried"
    place.mkdir()
    found = []
    for seed in range(12):
        content = NAMED[name](good[seed % len(good)], random.Random(seed))
        found.append(came_of(content, place))
    assert [said for what, said in found if what == "lost"] == []
    assert sum(what == "refused" for what, _ in found) >= 4
