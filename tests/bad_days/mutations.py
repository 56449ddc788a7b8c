"""Files altered at random: bytes anywhere, and values in a manifest that still parses."""

import json
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tensorpress as tp

Json = Any
ODD: tuple[Json, ...] = (
    None,
    True,
    0,
    -1,
    1,
    2**31,
    10**30,
    0.5,
    1e308,
    "",
    "ttpwt",
    "..",
    "\0",
    [],
    {},
    [[]],
    "9",
)


def alter_bytes(content: bytes, draw: random.Random) -> bytes:
    """Flip, cut, insert, copy or blank some bytes, in the header as often as in the rest."""
    data = bytearray(content)
    header = 8 + min(struct.unpack("<Q", content[:8])[0], len(content) - 8)
    for _ in range(draw.choice([1, 1, 1, 2, 5])):
        if not data:
            break
        end = header if draw.random() < 0.5 else len(data)
        at = draw.randrange(min(end, len(data)))
        length = draw.choice([1, 1, 4, 64, 1000])
        kind = draw.choice(["flip", "flip", "byte", "cut", "insert", "copy", "blank", "truncate"])
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
        else:
            del data[at:]
    return bytes(data)


def alter_manifest(content: bytes, draw: random.Random) -> bytes:
    """Put an odd value, or another one of the manifest's own, somewhere in it."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    manifest = json.loads(header["__metadata__"]["tensorpress"])
    for _ in range(draw.choice([1, 1, 2])):
        places = list(_places(manifest))
        holder, key = draw.choice(places)
        if draw.random() < 0.2:
            del holder[key]
        else:
            other, other_key = draw.choice(places)
            own = other[other_key] if _has(other, other_key) else None
            holder[key] = draw.choice([*ODD, json.loads(json.dumps(own))])
    header["__metadata__"]["tensorpress"] = json.dumps(manifest)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value: Json) -> Any:
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in list(items):
        yield value, key
        yield from _places(inner)


def outcomes(
    good: bytes,
    alter: Callable[[bytes, random.Random], bytes],
    read: Callable[[Path, nn.Module], nn.Module],
    build: Callable[[], nn.Module],
    folder: Path,
    seeds: range,
) -> Counter[str]:
    """Read a file altered in as many ways as there are seeds, and count what came of it.

    "refused" is a TensorpressError that left the network as it was, "equal" a network with the
    state that the good file gives, "lost" anything else.
    """
    file = folder / "altered"
    file.write_bytes(good)
    expected = read(file, build()).state_dict()
    counts: Counter[str] = Counter()
    for seed in seeds:
        draw = random.Random(seed)
        file.write_bytes(alter(good, draw))
        into = build()
        before = {name: value.clone() for name, value in into.state_dict().items()}
        try:
            state = read(file, into).state_dict()
        except tp.TensorpressError:
            counts["refused" if same(into.state_dict(), before) else "lost"] += 1
        else:
            counts["equal" if same(state, expected) else "lost"] += 1
    return counts


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
