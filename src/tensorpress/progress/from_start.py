"""A bar of rich that knows the time left after one step."""

from typing import Any

from rich.progress import Progress, TaskID

ESTIMATE_OVER = 600.0
"""The last seconds that the time left is told by; long beside a step, or there would be none."""


class ProgressFromStart(Progress):
    """Counts from when a task is added; rich itself counts from the end of the first step."""

    def __init__(self, *columns: Any, **options: Any) -> None:
        super().__init__(*columns, speed_estimate_period=ESTIMATE_OVER, **options)

    def add_task(self, *given: Any, **options: Any) -> TaskID:
        task = super().add_task(*given, **options)
        self.advance(task, 0)
        return task
