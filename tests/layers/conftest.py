from collections.abc import Iterator

import pytest
import torch
from threadpoolctl import ThreadpoolController

CONTROLLER = ThreadpoolController()


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small only lose by more threads, the more with several test processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with CONTROLLER.limit(limits=1):
        yield
    torch.set_num_threads(before)
