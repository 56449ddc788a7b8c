"""What a person sees of long work, on standard error: bars on a terminal, lines elsewhere."""

from tensorpress.progress.bars import progress_bar, track
from tensorpress.progress.durations import duration
from tensorpress.progress.lines import announce, warn
from tensorpress.progress.silence import silenced

__all__ = ["announce", "duration", "progress_bar", "silenced", "track", "warn"]
