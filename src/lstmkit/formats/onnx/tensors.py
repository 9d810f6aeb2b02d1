"""A tensor of an ONNX file to a NumPy array: its size is checked before anything is made.

float16 stays; bfloat16, which NumPy does not have, comes as float32. Weights may lie in a second
file beside the model ("external data"): only in its own folder, and only as far as that file goes.
"""

from __future__ import annotations

import math
import os
import stat
from typing import Any, NamedTuple

import numpy as np

from lstmkit.formats.onnx.protobuf import Reader, Value
from lstmkit.shapes import Array, InputError

MOST_AXES = 32
BFLOAT16 = 16
DTYPES: dict[int, tuple[str, Any]] = {
    1: ("float32", np.float32),
    2: ("uint8", np.uint8),
    3: ("int8", np.int8),
    4: ("uint16", np.uint16),
    5: ("int16", np.int16),
    6: ("int32", np.int32),
    7: ("int64", np.int64),
    9: ("bool", np.bool_),
    10: ("float16", np.float16),
    11: ("float64", np.float64),
    12: ("uint32", np.uint32),
    13: ("uint64", np.uint64),
    BFLOAT16: ("bfloat16", np.float32),
}
"""ONNX's number of a type: its name, and what it is here."""

# TensorProto's fields that hold numbers, and the types that they hold.
_FLOAT, _INT32, _INT64, _RAW, _DOUBLE, _UINT64 = 4, 5, 7, 9, 10, 11
_HOLDS = {_FLOAT: {1}, _INT32: {2, 3, 4, 5, 6, 9, 10, BFLOAT16}, _INT64: {7}}
_HOLDS |= {_DOUBLE: {11}, _UINT64: {12, 13}}


class Unreadable(InputError):
    """A tensor of a type that is not for LSTMs (text, complex, 4 and 8 bits); the rest is fine."""


class Tensor(NamedTuple):
    """A named array and ONNX's name of its type, which for bfloat16 is not the array's."""

    name: str
    dtype: str
    array: Array


class Files:
    """The files beside a model that hold its large arrays.

    Parameters
    ----------
    owner : str
        Who speaks in an error.
    folder : str, optional
        Where the model lies; None if it lies nowhere, then no other file is read.
    """

    def __init__(self, owner: str, folder: str | None) -> None:
        self.owner, self._folder = owner, folder
        self.taken = 0  # bytes that were read
        self._read: dict[tuple[str, int, int], memoryview] = {}
        self._left: dict[str, int] = {}  # bytes that may still be read, by file: each byte once

    def read(self, entries: dict[str, str], size: int) -> memoryview:
        """Return ``size`` bytes from where the entries of a tensor say."""
        name = entries.get("location", "")
        offset = self._number(entries.get("offset", "0"))
        if "length" in entries and self._number(entries["length"]) != size:
            raise InputError(
                f"{self.owner}: its data in {name!r:.80} has length {entries['length']!r:.30}; "
                f"the shape needs {size} bytes"
            )
        path = self._path(name)
        place = (path, offset, size)
        if place not in self._read:
            with open(path, "rb") as file:
                there = os.fstat(file.fileno()).st_size
                left = self._left.setdefault(path, there)
                if offset + size > there or size > left:
                    raise InputError(
                        f"{self.owner}: its data file {name!r:.80} has {there} bytes; expected "
                        f"{offset + size}, each used once (copy the whole file beside the model)"
                    )
                self._left[path] = left - size
                self.taken += size
                file.seek(offset)
                self._read[place] = memoryview(file.read(size))
        return self._read[place]

    def _number(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise InputError(
                f"{self.owner}: the place of its data is {text!r:.30}; expected a whole number"
            )
        return int(text)

    def _path(self, name: str) -> str:
        plain = name and not set(name) & set("/\\:\0") and name not in (".", "..")
        if self._folder is None or not plain:
            raise InputError(
                f"{self.owner}: its data is in {name!r:.80}; expected a file in the model's own "
                "folder"
            )
        folder = os.path.realpath(self._folder)
        path = os.path.realpath(os.path.join(folder, name))
        if os.path.dirname(path) != folder:
            raise InputError(
                f"{self.owner}: its data file {name!r:.80} is a link out of the model's folder; "
                "expected a file there"
            )
        try:
            regular = stat.S_ISREG(os.stat(path).st_mode)
        except OSError:
            regular = False
        if not regular:
            raise InputError(
                f"{self.owner}: its data file {name!r:.80} is missing; copy it beside the model"
            )
        return path


def read_tensor(reader: Reader, data: memoryview, files: Files) -> Tensor:
    """Read a TensorProto.

    Raises
    ------
    Unreadable
        If its type is none of `DTYPES`; its name is the error's second argument.
    InputError
        If sizes and bytes disagree, or its data is where it may not be.
    """
    dims: list[Value] = []
    held: dict[int, list[Value]] = {}
    entries: dict[str, str] = {}
    code = external = segment = 0
    name = ""
    for number, value in reader.fields(data):
        if number == 1:
            dims.append(value)
        elif number == 2:
            code = reader.integer(value)
        elif number == 3:
            segment = 1
        elif number == 8:
            name = reader.text(value)
        elif number == _RAW or number in _HOLDS:
            held.setdefault(number, []).append(value)
        elif number == 13:
            pair = {k: reader.text(v) for k, v in reader.fields(reader.bytes(value))}
            entries[pair.get(1, "")] = pair.get(2, "")
        elif number == 14:
            external = reader.integer(value)
    owner = f"{reader.owner}: tensor {name!r:.80}"
    if code not in DTYPES:
        raise Unreadable(f"{owner} has type {code}, which is not one of an LSTM's", name)
    shape = tuple(int(size) for size in reader.integers(dims, MOST_AXES))
    if min(shape, default=0) < 0:
        raise InputError(f"{owner} has shape {shape}; expected sizes of at least 0")
    if segment:
        raise InputError(f"{owner} is in segments, which nothing writes; export the model again")
    count, (dtype, kind) = math.prod(shape), DTYPES[code]
    bits = np.dtype(np.uint16) if code == BFLOAT16 else np.dtype(kind)
    if external:
        raw = np.frombuffer(files.read(entries, count * bits.itemsize), bits.newbyteorder("<"))
    elif _RAW in held:
        raw = _raw(owner, reader, held[_RAW], count, bits)
    else:
        raw = _typed(reader, held, code, count, bits)
    if len(raw) != count:
        raise InputError(f"{owner} holds {len(raw)} numbers; its shape {shape} has {count}")
    if code == BFLOAT16:
        raw = (raw.astype(np.uint32) << 16).view(np.float32)
    elif kind is np.bool_ and raw.view(np.uint8).max(initial=0) > 1:
        raise InputError(f"{owner} is boolean and has bytes other than 0 and 1")
    return Tensor(name, dtype, raw.astype(raw.dtype.newbyteorder("="), copy=False).reshape(shape))


def _raw(owner: str, reader: Reader, held: list[Value], count: int, bits: Any) -> Array:
    data = reader.bytes(held[-1])
    if len(data) != count * bits.itemsize:
        raise InputError(
            f"{owner} holds {len(data)} bytes; its shape needs {count * bits.itemsize}"
        )
    return np.frombuffer(data, bits.newbyteorder("<"))


def _typed(reader: Reader, held: dict[int, list[Value]], code: int, count: int, bits: Any) -> Array:
    """Return the numbers of the field that belongs to the type; the small types share one."""
    field = next(number for number, codes in _HOLDS.items() if code in codes)
    values = held.get(field, [])
    if field == _FLOAT:
        return reader.block(values, "<f4") if values else np.empty(0, np.float32)
    if field == _DOUBLE:
        return reader.block(values, "<f8") if values else np.empty(0, np.float64)
    numbers = reader.integers(values, count)
    if code in (10, BFLOAT16):  # the bits of each number
        return numbers.astype(np.uint16).view(bits)
    return numbers.astype(bits)
