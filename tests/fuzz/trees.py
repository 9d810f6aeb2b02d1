"""Mutations of JSON text as a tree: its values, its names, and JSON that stands in its text."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import blobs

LEAVES = (
    None,
    True,
    False,
    "",
    "x",
    "LSTM",
    "float32",
    "é\n\x00\x1b[31m",
    "a" * 3000,
    -0.0,
    1e308,
    [],
    {},
)
RAW = ("NaN", "Infinity", "-Infinity", "1e999", "1" * 500, "01", "'x'", "\\u0000", '"\\ud800"')


class Pairs(list[Any]):
    """An object as its pairs: so a name may come twice."""


class Raw(str):
    """Text that goes into the JSON as it is."""


def read(text: str | bytes) -> Any:
    """Read JSON with its objects as `Pairs`."""
    return json.loads(text, object_pairs_hook=Pairs)


def write(value: Any) -> str:
    """Write what `read` gave, changed or not."""
    if isinstance(value, Raw):
        return str.__str__(value)
    if isinstance(value, Pairs):
        inside = (f"{json.dumps(str(name))}:{write(entry)}" for name, entry in value)
        return "{" + ",".join(inside) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(write, value)) + "]"
    return json.dumps(value)


def mutate(random: Random, value: Any) -> Any:
    """Change a few places of a tree; the tree itself stays as it was."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _change(random, value)
    return value


def mutate_text(random: Random, text: bytes) -> bytes:
    """Change JSON text; what is none is changed as bytes."""
    try:
        value = read(text)
    except (ValueError, RecursionError):
        return blobs.mutate(random, text)
    return write(mutate(random, value)).encode("utf-8", "surrogatepass")


def _change(random: Random, value: Any) -> Any:
    """Go down to some place and change what stands there."""
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        changed = type(value)(value)
        if isinstance(value, Pairs):
            name, entry = value[at]
            changed[at] = (name, _change(random, entry))
        else:
            changed[at] = _change(random, value[at])
        return changed
    if isinstance(value, str) and value[:1] in ("{", "[") and random.random() < 0.9:
        try:
            return write(_change(random, read(value)))
        except (ValueError, RecursionError):
            return random.choice(LEAVES)
    return random.choice(WAYS)(random, value)


def _leaf(random: Random, value: Any) -> Any:
    return random.choice(LEAVES)


def _number(random: Random, value: Any) -> Any:
    if isinstance(value, (int, float)) and random.random() < 0.4:
        step = random.choice((-1, 1, value, -2 * value, 0.5))
        with suppress(OverflowError):  # a float next to a whole number beyond all floats
            return value + step
    return blobs.number(random)


def _raw(random: Random, value: Any) -> Any:
    return Raw(random.choice(RAW))


def _deep(random: Random, value: Any) -> Any:
    depth = random.choice((2, 10, 100, 1500)) if random.random() < 0.95 else 50_000
    opened, closed = random.choice((("[", "]"), ('{"a":', "}")))
    return Raw(opened * depth + "0" + closed * depth)


def _members(random: Random, value: Any) -> Any:
    """Take out, repeat or exchange what an object or a list holds, or give it one more."""
    if not isinstance(value, list):
        return random.choice((Pairs([("a", value)]), [value], [value, value]))
    changed = type(value)(value)
    way = random.randrange(5)
    if way == 0 and changed:
        del changed[random.randrange(len(changed))]
    elif way == 1 and changed:
        changed.append(random.choice(changed))
    elif way == 2 and len(changed) > 1:
        a, b = random.sample(range(len(changed)), 2)
        if isinstance(changed, Pairs):  # each other's names
            changed[a], changed[b] = (changed[b][0], changed[a][1]), (changed[a][0], changed[b][1])
        else:
            changed[a], changed[b] = changed[b], changed[a]
    elif way == 3 and isinstance(changed, Pairs):
        changed.append(
            (random.choice(("", "a", "__metadata__", "format", "é")), random.choice(LEAVES))
        )
    else:
        changed.append(("b", 0) if isinstance(changed, Pairs) else random.choice(LEAVES))
    return changed


def _bulk(random: Random, value: Any) -> Any:
    if random.random() < 0.95:
        return value
    piece = random.choice(("[]", "0", "{}", '""', '{"a":0}', "[[]]"))
    return Raw("[" + ",".join([piece] * (blobs.BULK // (len(piece) + 1))) + "]")


WAYS: tuple[Callable[[Random, Any], Any], ...] = (
    _leaf,
    _leaf,
    _number,
    _number,
    _number,
    _raw,
    _deep,
    _members,
    _members,
    _bulk,
)
