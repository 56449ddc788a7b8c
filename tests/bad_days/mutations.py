"""Files altered at random: bytes anywhere, and values in a manifest that still parses."""

import json
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from altered_bytes import altered
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
    """Alter some bytes, in the header as often as in the rest."""
    header = 8 + min(struct.unpack("<Q", content[:8])[0], len(content) - 8)
    return altered(content, draw, head=header)


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
