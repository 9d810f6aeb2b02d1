"""Mutations of protocol buffers as trees of fields, whatever their schema.

Source: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import blobs

VARINT, EIGHT, LENGTH, FOUR = 0, 1, 2, 5
Field = tuple[int, int, Any]  # number, wire type, value: a whole number, bytes or a list of fields


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Change a few fields at any depth."""
    if random.random() < 0.1:
        return blobs.mutate(random, data, others)
    fields = read(data)
    if fields is None:
        return blobs.mutate(random, data, others)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        fields = _change(random, fields)
    return write(fields)


def read(data: bytes, depth: int = 0) -> list[Field] | None:
    """Read fields; None where the bytes are none."""
    found: list[Field] = []
    at = 0
    while at < len(data):
        try:
            key, at = _varint(data, at)
            number, kind = key >> 3, key & 7
            value: Any
            if number == 0:
                return None
            if kind == VARINT:
                value, at = _varint(data, at)
            elif kind == LENGTH:
                size, at = _varint(data, at)
                value, at = data[at : at + size], at + size
                if at > len(data):
                    return None
                inside = read(value, depth + 1) if value and depth < 8 and size < 5000 else None
                value = value if inside is None else inside
            elif kind in (EIGHT, FOUR):
                size = 8 if kind == EIGHT else 4
                value, at = data[at : at + size], at + size
                if at > len(data):
                    return None
            else:
                return None
        except IndexError:
            return None
        found.append((number, kind, value))
    return found


def write(fields: list[Field]) -> bytes:
    """Write fields."""
    parts = []
    for number, kind, value in fields:
        parts.append(_as_varint(number << 3 | kind))
        if kind == LENGTH:
            value = write(value) if isinstance(value, list) else value
            parts.append(_as_varint(len(value)))
        parts.append(_as_varint(value) if kind == VARINT else value)
    return b"".join(parts)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128 or shift > 63:
            return value, at


def _as_varint(value: int) -> bytes:
    value %= 2**64
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _change(random: Random, fields: list[Field]) -> list[Field]:
    fields = list(fields)
    if not fields:
        return [(random.randrange(1, 30), VARINT, blobs.number(random))]
    at = random.randrange(len(fields))
    number, kind, value = fields[at]
    if isinstance(value, list) and random.random() < 0.8:
        fields[at] = (number, kind, _change(random, value))
        return fields
    way = random.randrange(9)
    if way == 0:
        del fields[at]
    elif way == 1:
        fields.append(fields[at])
    elif way == 2:
        fields[at] = (random.choice((random.randrange(1, 40), number + 1)), kind, value)
    elif way == 3:  # a message inside itself
        depth = random.choice((1, 5, 50, 300))
        inside = write(value) if isinstance(value, list) else b""
        for _ in range(depth):
            inside = write([(number, LENGTH, inside)])
        fields[at] = (number, LENGTH, inside)
    elif way == 4:
        other = random.randrange(len(fields))
        fields[at], fields[other] = fields[other], fields[at]
    elif way == 5 and random.random() < 0.05:
        piece = write([fields[at]])
        fields[at:at] = [fields[at]] * (blobs.BULK // len(piece))
    elif way == 6:
        fields.insert(at, (number, VARINT, blobs.number(random)))
    elif kind == VARINT:
        new = blobs.number(random) if random.random() < 0.7 else value + random.choice((-1, 1))
        fields[at] = (number, kind, new)
    elif isinstance(value, list):
        fields[at] = (number, LENGTH, blobs.mutate(random, write(value)))
    else:
        fields[at] = (number, kind, _bytes(random, kind, value))
    return fields


def _bytes(random: Random, kind: int, value: bytes) -> bytes:
    if kind != LENGTH:
        size = len(value)
        return (abs(blobs.number(random)) % 256**size).to_bytes(size, "little")
    if random.random() < 0.2:
        return random.choice((b"", b"LSTM", b"Loop", b"If", b"\xff\xfe", b"a\n\x1b", b"x" * 2000))
    return blobs.mutate(random, value)
