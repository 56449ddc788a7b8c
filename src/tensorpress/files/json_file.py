"""JSON in files that anyone may have altered."""

import json
from pathlib import Path
from typing import Any

from tensorpress.errors import TensorpressError, first_line


def read_json(path: Path, way_out: str) -> Any:
    """What a file of JSON holds, of whatever kind.

    Args:
        way_out: what the message tells to do where it holds none.

    Raises:
        TensorpressError: the file is not there, cannot be read or holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TensorpressError(
            f"{path} cannot be read ({error.strerror or error}): {way_out}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise TensorpressError(
            f"{path} cannot be read, as it is damaged ({first_line(error)}): {way_out}"
        ) from error
