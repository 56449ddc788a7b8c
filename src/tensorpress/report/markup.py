"""HTML from Python values: what is not markup already is escaped."""

import html
import re
from collections.abc import Iterable

VOID = ("meta", "br")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class Markup(str):
    """Text that is HTML already; `tag` escapes every other string."""

    __slots__ = ()


def tag(element: str, /, *content: object, **attributes: object) -> Markup:
    """One element around its content.

    Attributes whose value is None or False are left out, True gives one without a value. In their
    names a trailing underscore goes and the others become hyphens.

    >>> tag("p", "a < b", class_="note", aria_label='"x"')
    '<p class="note" aria-label="&quot;x&quot;">a &lt; b</p>'
    """
    given = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{_quoted(value)}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if element in VOID:
        return Markup(f"<{element}{given}>")
    return Markup(f"<{element}{given}>{join(content)}</{element}>")


def join(parts: Iterable[object], between: str = "") -> Markup:
    """Parts one after the other, each escaped unless it is markup; None is left out."""
    return Markup(between.join(escape(part) for part in parts if part is not None))


def escape(value: object) -> Markup:
    """Any value as text that stands for itself; what no page may hold becomes U+FFFD."""
    return value if isinstance(value, Markup) else Markup(_quoted(value))


def printable(value: object) -> str:
    """Text that can be written in UTF-8 and shown: no control characters, no half surrogates."""
    return _CONTROL.sub("\ufffd", str(value))


def _quoted(value: object) -> str:
    return html.escape(printable(value))
