"""Mutations of bytes of which nothing is known, and the numbers that break readers."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from random import Random

NUMBERS = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 1000, 4095, 4096)
NUMBERS += tuple(
    2**power + by for power in (15, 16, 20, 24, 30, 31, 32, 40, 62, 63, 64) for by in (-1, 0, 1)
)
FORMATS = ("<H", ">H", "<I", ">I", "<Q", ">Q")
BULK = 1 << 17  # bytes that one mutation may add


def number(random: Random) -> int:
    """One of the numbers at which readers break, or a neighbour of it, or its negative."""
    value = random.choice(NUMBERS) + random.choice((0, 0, 0, -1, 1))
    return -value if random.random() < 0.15 else value


def mutate(random: Random, data: bytes, others: Sequence[bytes] = (b"",)) -> bytes:
    """Change a few places."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        data = random.choice(WAYS)(random, data, others)
    return data


def _place(random: Random, data: bytes) -> int:
    """Anywhere, but often near the start or the end: there are the headers."""
    if random.random() < 0.3:
        return min(int(random.expovariate(1 / 32)), len(data))
    if random.random() < 0.2:
        return max(len(data) - int(random.expovariate(1 / 32)), 0)
    return random.randint(0, len(data))


def _flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    changed = data[at : at + 1]
    return data[:at] + bytes(byte ^ 1 << random.randrange(8) for byte in changed) + data[at + 1 :]


def _byte(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    new = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    return data[:at] + bytes([new]) + data[at + 1 :]


def _number(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    form = random.choice(FORMATS)
    size = struct.calcsize(form)
    at = _place(random, data)
    if random.random() < 0.7:
        at -= at % 4
    new = struct.pack(form, number(random) % 256**size)
    return data[:at] + new + data[at + size :]


def _more(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A number that stands there, made a little larger or smaller."""
    form = random.choice(FORMATS)
    size = struct.calcsize(form)
    at = _place(random, data)
    if at + size > len(data):
        return data
    (value,) = struct.unpack_from(form, data, at)
    value += random.choice((-8, -2, -1, 1, 2, 8, value, len(data)))
    return data[:at] + struct.pack(form, value % 256**size) + data[at + size :]


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: _place(random, data)]


def _out(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + data[at + random.choice((1, 2, 4, 8, 16, 100)) :]


def _into(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 8, 64))) + data[at:]


def _again(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A piece comes twice, or very often."""
    at = _place(random, data)
    piece = data[at : at + random.choice((1, 2, 3, 8, 50, 500))]
    times = random.choice((1, 1, 2, 10)) if random.random() < 0.995 else BULK // max(len(piece), 1)
    return data[:at] + piece * times + data[at:]


def _move(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """A piece stands somewhere else too, in the place of what was there."""
    start, at = _place(random, data), _place(random, data)
    piece = data[start : start + random.choice((1, 4, 8, 16, 64))]
    return data[:at] + piece + data[at + len(piece) :]


def _splice(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    return data[: _place(random, data)] + other[_place(random, other) :]


WAYS = (
    _flip,
    _flip,
    _byte,
    _byte,
    _number,
    _number,
    _more,
    _cut,
    _out,
    _into,
    _again,
    _move,
    _splice,
)
