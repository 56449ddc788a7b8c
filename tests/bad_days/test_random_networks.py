from pathlib import Path

import pytest
from journey import travel
from random_networks import Case


@pytest.mark.parametrize("seed", range(60))
def test_nothing_is_lost_on_the_way(seed: int, tmp_path: Path) -> None:
    travel(Case.of(seed), tmp_path / "net.tp")
