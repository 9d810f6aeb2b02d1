"""A matrix that stays in its file and is read when it is used, whole or in parts."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lstmkit.shapes import Array, InputError


class Place(NamedTuple):
    """Where a matrix begins in a file, dense and in this machine's byte order."""

    start: int
    dtype: Any
    shape: tuple[int, ...]


class OpenFile:
    """A file that is open as long as a matrix in it is used; it must stay as it was.

    Raises
    ------
    InputError
        From `read`, if the file has been changed since, or is cut off.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = os.fspath(path)
        self._file = open(self._path, "rb", buffering=0)
        self._lock = Lock()
        self._stamp = self._now()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def _now(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def read(self, start: int, room: memoryview) -> None:
        """Fill ``room`` with the bytes from ``start`` on."""
        with self._lock:
            if self._now() != self._stamp:
                raise InputError(
                    f"lstm: {self._path!r}, where its weights are, has changed; load it again"
                )
            self._file.seek(start)
            done = 0
            while done < len(room):
                count = self._file.readinto(room[done:])
                if not count:
                    raise InputError(f"lstm: {self._path!r}, where its weights are, is cut off")
                done += count


class FileMatrix:
    """A matrix in a file: what `lstmkit.engine.base.InFile` describes."""

    def __init__(self, file: OpenFile, place: Place) -> None:
        self._file, self._start = file, place.start
        self.dtype, self.shape = np.dtype(place.dtype), place.shape
        self.ndim, self.size = len(place.shape), int(np.prod(place.shape))
        self.nbytes = self.size * self.dtype.itemsize

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        return self.rows([slice(0, self.shape[0])]).astype(dtype or self.dtype, copy=False)

    def rows(self, parts: list[slice]) -> Array:
        """Return the rows of some slices, one after the other, as a new array."""
        count = sum(part.stop - part.start for part in parts)
        array = np.empty((count, *self.shape[1:]), self.dtype)
        room = array.reshape(-1).data.cast("B")
        row = self.nbytes // self.shape[0]
        done = 0
        for part in parts:
            size = (part.stop - part.start) * row
            self._file.read(self._start + part.start * row, room[done : done + size])
            done += size
        return array
