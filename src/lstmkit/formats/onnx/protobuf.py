"""The bytes of a protobuf message, field by field, read where they lie and trusted in nothing.

An ONNX file is one such message (https://protobuf.dev/programming-guides/encoding/). Read here,
it needs neither the onnx package nor a second copy of the weights in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from lstmkit.shapes import Array, InputError

MOST_FIELDS = 200_000
"""Of one file: a graph of 10,000 nodes has as many. It bounds the time that any file can take."""
_CHUNK = 1 << 16  # bytes of packed whole numbers that are decoded at once

Value = int | memoryview
"""A field's value: a whole number as it is, everything else its bytes."""


class Reader:
    """Reads the messages of one file.

    Parameters
    ----------
    owner : str
        Who speaks in an error: ``"onnx.load: 'model.onnx'"``.
    """

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self._left = MOST_FIELDS

    def fields(self, data: memoryview) -> Iterator[tuple[int, Value]]:
        """Give number and value of each field of a message, in the order of the file."""
        at, end = 0, len(data)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise InputError(
                    f"{self.owner} has more than {MOST_FIELDS} fields; expected a graph of LSTM "
                    "layers"
                )
            key, at = self._varint(data, at)
            kind = key & 7
            if kind == 0:
                number, at = self._varint(data, at)
                yield key >> 3, number
                continue
            if kind == 2:
                size, at = self._varint(data, at)
            elif kind in (1, 5):
                size = 8 if kind == 1 else 4
            else:
                raise self.damaged(f"a field has wire type {kind}")
            if size > end - at:
                raise self.damaged("it ends in the middle of a field")
            yield key >> 3, data[at : at + size]
            at += size

    def _varint(self, data: memoryview, at: int) -> tuple[int, int]:
        number = shift = 0
        for byte in data[at : at + 10]:
            number |= (byte & 127) << shift
            shift += 7
            at += 1
            if byte < 128:
                return number & (2**64 - 1), at
        raise self.damaged("a number has no end")

    def damaged(self, why: str) -> InputError:
        """Return the error for bytes that are no message of ONNX's."""
        return InputError(f"{self.owner} is no ONNX file, or a damaged one: {why}")

    # --------------------------------------------------------------------------- single values

    def integer(self, value: Value) -> int:
        """Return a signed number."""
        if not isinstance(value, int):
            raise self.damaged("a number is something else")
        return value - 2**64 if value >= 2**63 else value

    def bytes(self, value: Value) -> memoryview:
        """Return the bytes of a text, a message or a block of numbers."""
        if isinstance(value, int):
            raise self.damaged("a text or message is a number")
        return value

    def text(self, value: Value) -> str:
        """Return a text."""
        try:
            return str(self.bytes(value), "utf-8")
        except UnicodeDecodeError:
            raise self.damaged("a name is not UTF-8") from None

    def real(self, value: Value) -> float:
        """Return a single-precision number."""
        data = self.bytes(value)
        if len(data) != 4:
            raise self.damaged("a real number has another size than 4 bytes")
        return float(struct.unpack("<f", data)[0])

    # ---------------------------------------------------------------------- repeated numbers

    def integers(self, values: list[Value], most: int) -> Array:
        """Return int64 numbers of repeated fields, packed or not; more than ``most`` are refused.

        Nothing is made before it is known to fit: the bytes below 128 end a number each.
        """
        parts: list[Array] = []
        count = 0
        for value in values:
            if isinstance(value, int):
                part = np.array([self.integer(value)], np.int64)
            else:
                raw = np.frombuffer(value, np.uint8)
                if count + np.count_nonzero(raw < 128) > most:
                    raise self.damaged("an array holds more numbers than its shape has")
                part = self._unpack(raw)
            count += len(part)
            if count > most:
                raise self.damaged("an array holds more numbers than its shape has")
            parts.append(part)
        return np.concatenate([np.empty(0, np.int64), *parts]) if len(parts) != 1 else parts[0]

    def _unpack(self, raw: Array) -> Array:
        """Decode packed varints, some thousands at a time."""
        parts: list[Array] = []
        at = 0
        while at < len(raw):
            piece = raw[at : at + _CHUNK]
            ends = np.flatnonzero(piece < 128)
            if not len(ends):
                raise self.damaged("a number has no end")
            piece = piece[: ends[-1] + 1]
            starts = np.concatenate(([0], ends[:-1] + 1))
            sizes = ends - starts + 1
            if sizes.max() > 10:
                raise self.damaged("a number has no end")
            place = np.arange(len(piece)) - np.repeat(starts, sizes)
            bits = (piece & 127).astype(np.uint64) << (7 * place).astype(np.uint64)
            parts.append(np.bitwise_or.reduceat(bits, starts).view(np.int64))
            at += len(piece)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def block(self, values: list[Value], dtype: Any) -> Array:
        """Return numbers of fixed size of repeated fields, packed or not, where they lie."""
        if len(values) == 1:
            data = self.bytes(values[0])
        else:
            data = memoryview(b"".join(self.bytes(value) for value in values))
        if len(data) % np.dtype(dtype).itemsize:
            raise self.damaged("a block of numbers ends in the middle of one")
        return np.frombuffer(data, dtype)
