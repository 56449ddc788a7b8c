from pathlib import Path

import pytest
from journey import travel
from random_networks import Case

from tensorpress.artifacts import read_manifest


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_lost_on_the_way(seed: int, tmp_path: Path) -> None:
    loaded = travel(Case.of(seed), tmp_path / "net.tp")
    account = read_manifest(tmp_path / "net.tp").account
    assert account is not None
    assert account["params_after"] == sum(p.numel() for p in loaded.parameters())
