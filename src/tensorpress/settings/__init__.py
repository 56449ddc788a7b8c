"""Dataclasses of settings, as JSON values and as options of a command line."""

from tensorpress.settings.json_values import flat, from_json, is_number, to_json
from tensorpress.settings.options import (
    Option,
    OptionOf,
    given_by,
    nested,
    one_of,
    option,
    options_of,
    read_options,
    words_of,
)

__all__ = [
    "Option",
    "OptionOf",
    "flat",
    "from_json",
    "given_by",
    "is_number",
    "nested",
    "one_of",
    "option",
    "options_of",
    "read_options",
    "to_json",
    "words_of",
]
