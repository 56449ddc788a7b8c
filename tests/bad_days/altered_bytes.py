"""Bytes altered at random."""

import random

KINDS = ("flip", "flip", "byte", "cut", "insert", "copy", "blank", "truncate")


def altered(content: bytes, draw: random.Random, *, head: int) -> bytes:
    """Flip, set, cut, insert, copy or blank bytes, in the first ``head`` as often as in all."""
    data = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 3, 10])):
        if not data:
            break
        near = min(head, len(data)) if draw.random() < 0.5 else len(data)
        at = draw.randrange(near)
        length = draw.choice([1, 1, 4, 64, 1000])
        kind = draw.choice(KINDS)
        if kind == "flip":
            data[at] ^= 1 << draw.randrange(8)
        elif kind == "byte":
            data[at] = draw.randrange(256)
        elif kind == "cut":
            del data[at : at + length]
        elif kind == "insert":
            data[at:at] = draw.randbytes(length)
        elif kind == "copy":
            data[at : at + length] = data[: len(data[at : at + length])]
        elif kind == "blank":
            data[at : at + length] = bytes(len(data[at : at + length]))
        elif draw.random() < 0.3:
            del data[at:]
    return bytes(data)
