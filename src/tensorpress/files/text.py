"""Text that any file and any page can hold, and names that are the same to people."""

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(value: object) -> str:
    """``value`` as text for UTF-8 and for people: what cannot be shown becomes U+FFFD.

    >>> printable("a" + chr(27) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return _CONTROL.sub("\ufffd", str(value))


def composed(name: str) -> str:
    """A name as names are compared: an accented letter is one sign, and may be written as two.

    >>> composed("e" + chr(0x301)) == chr(0xE9)
    True
    """
    return unicodedata.normalize("NFC", name)
