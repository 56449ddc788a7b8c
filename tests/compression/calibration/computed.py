"""What is really computed, counted."""

from collections import Counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode


class Computed(TorchDispatchMode):
    """Counts the operations that are computed, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))
