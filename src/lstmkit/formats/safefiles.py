"""State dicts in safetensors files that are not ours: named arrays and nothing else.

Source: the format's description, https://github.com/huggingface/safetensors.
"""

from __future__ import annotations

import os
from io import BufferedReader
from typing import Any

import numpy as np

from lstmkit import store
from lstmkit.formats.infile import Place
from lstmkit.formats.statedicts import STORED, Kind, widen
from lstmkit.formats.zips import damaged
from lstmkit.shapes import Array

SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1, "C64": 8,
}  # fmt: skip
_NAMES = {"BF16": "bfloat16", "BOOL": "bool", "C64": "complex64"}
_WORDS = {"F": "float", "I": "int", "U": "uint"}


class SafeDict:
    """The arrays of a safetensors file; see `lstmkit.formats.torchfiles.Checkpoint`."""

    format = "PyTorch state dict (safetensors)"
    others = 0

    def __init__(self, path: Any, file: BufferedReader) -> None:
        self.path, self.file = path, file
        header, metadata, self._start = store.read_header(path, file)
        room = os.fstat(file.fileno()).st_size - self._start
        rows = store.layout(path, header, room, SIZES)
        self._places = {name: place for name, (_, _, place) in rows.items()}
        self.kinds = {name: Kind(_dtype(code), shape) for name, (code, shape, _) in rows.items()}
        pairs = metadata.items() if isinstance(metadata, dict) else ()
        self.facts = [(str(key)[:60], str(value)[:80]) for key, value in pairs][:20]

    def place(self, name: str) -> Place | None:
        """Return where a float32 or float64 array lies; None for any other."""
        kind = self.kinds[name]
        if kind.dtype not in ("float32", "float64") or not kind.shape or 0 in kind.shape:
            return None
        dtype = np.dtype("<" + STORED[kind.dtype])
        return (
            Place(self._start + self._places[name], dtype, kind.shape) if dtype.isnative else None
        )

    def read(self, name: str) -> Array:
        """Return a new array of the numbers; half precision is widened to float32."""
        kind = self.kinds[name]
        array = np.empty(kind.shape, "<" + STORED[kind.dtype])
        if array.size:
            self.file.seek(self._start + self._places[name])
            room = array.reshape(-1).data.cast("B")
            if self.file.readinto(room) != len(room):
                raise damaged(self.path, "it is cut off")
        return widen(array, kind.dtype)


def _dtype(code: str) -> str:
    """Return PyTorch's name of a dtype."""
    return _NAMES.get(code) or _WORDS[code[0]] + code[1:].lower()
