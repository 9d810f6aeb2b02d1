"""Mutations of HDF5 files: of their addresses and sizes, and of the JSON in them.

Source: the file format's specification, version 3, of The HDF Group.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

import blobs
import trees

SIGNS = re.compile(
    rb"\x89HDF|OHDR|OCHK|TREE|SNOD|HEAP|GCOL|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|FSHD|FSSE|SMTB|FADB|FAHD|EAHD"
)
JSON = re.compile(rb'\{"[ -~]{20,}\}')


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change a few places; the structures of the format more often than the numbers in it."""
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        way = random.random()
        if way < 0.2:
            data = blobs.mutate(random, data, others)
        elif way < 0.35:
            data = _json(random, data)
        else:
            data = _structure(random, data)
    return data


def _structure(random: Random, data: bytes) -> bytes:
    """Change a number, often to an address of something else, near the start of a structure."""
    places = [found.start() for found in SIGNS.finditer(data)] or [0]
    place = random.choice(places) + random.randrange(0, 200)
    size = random.choice((1, 2, 4, 8))
    if random.random() < 0.8:
        place -= place % size
    old = int.from_bytes(data[place : place + size], "little")
    new = random.choice((
        random.choice(places), random.choice(places) + 8, blobs.number(random), old + 1, old - 1,
        2 * old, old + 8, len(data), place, -1, random.randrange(256),
    ))  # fmt: skip
    return data[:place] + (new % 256**size).to_bytes(size, "little") + data[place + size :]


def _json(random: Random, data: bytes) -> bytes:
    """Change JSON where it stands, in as many bytes as before where that goes."""
    found = list(JSON.finditer(data))
    if not found:
        return blobs.mutate(random, data)
    chosen = random.choice(found)
    new = trees.mutate_text(random, chosen.group())
    room = len(chosen.group())
    if len(new) > room:
        new = new[:room]
    return data[: chosen.start()] + new.ljust(room) + data[chosen.end() :]
