"""Ragged batches: sort by length, pack the real steps together, and put everything back.

``x (N, T, I)`` with lengths becomes ``(tokens, I)``: step 0 of all sequences, longest first, then
step 1 of those that have one, and so on. PyTorch's PackedSequence has the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array

Index = NDArray[np.intp]


class Packing:
    """The order in which the engine sees a batch.

    Parameters
    ----------
    batch, steps : int
        N and T.
    lengths : array (N,) of int64, optional
        Real steps of each sequence, 0 to T; all T by default.

    Attributes
    ----------
    sizes : list of int
        How many sequences are running at each step; steps that nobody has are left out.
    tokens : int
        The number of real steps in all.
    """

    def __init__(self, batch: int, steps: int, lengths: NDArray[np.int64] | None = None) -> None:
        self.batch, self.steps = batch, steps
        self.full = lengths is None or bool((lengths == steps).all())
        if self.full:
            self.sizes = [batch] * steps if batch else []
            self.tokens = batch * steps
            return
        assert lengths is not None
        self.order: Index = np.argsort(-lengths, kind="stable")
        self.sorted_lengths = lengths[self.order]
        counts = np.searchsorted(-self.sorted_lengths, -np.arange(steps), side="left")
        self.sizes = [int(n) for n in counts if n]
        self.tokens = sum(self.sizes)
        starts = np.concatenate(([0], np.cumsum(self.sizes)))[:-1].astype(np.intp)
        self._time = np.repeat(np.arange(len(self.sizes)), self.sizes)
        sorted_row = np.arange(self.tokens) - starts[self._time]
        self._row = self.order[sorted_row]
        mirrored = self.sorted_lengths[sorted_row] - 1 - self._time
        self._mirror = starts[mirrored] + sorted_row

    def pack(self, x: Array) -> Array:
        """(N, T, …) → (tokens, …), a copy."""
        if self.full:
            return x.swapaxes(0, 1).copy(order="C").reshape(self.tokens, *x.shape[2:])
        packed: Array = x[self._row, self._time]
        return packed

    def unpack(self, packed: Array) -> Array:
        """(tokens, …) → (N, T, …), a copy with zeros past each end."""
        rest = packed.shape[1:]
        if self.full:
            by_time = packed.reshape(self.steps, self.batch, *rest)
            return by_time.swapaxes(0, 1).copy(order="C")
        x = np.zeros((self.batch, self.steps, *rest), packed.dtype)
        x[self._row, self._time] = packed
        return x

    def mirror(self, packed: Array) -> Array:
        """Turn each sequence around within its own length. Twice gives back the original."""
        if self.full:
            by_time = packed.reshape(self.steps, self.batch, *packed.shape[1:])
            return np.ascontiguousarray(by_time[::-1]).reshape(packed.shape)
        turned: Array = packed[self._mirror]
        return turned

    def sort(self, rows: Array) -> Array:
        """(…, N, features) in the caller's order → in packed order, a copy."""
        return rows.copy() if self.full else rows[..., self.order, :]

    def unsort(self, rows: Array) -> Array:
        """Undo `sort`."""
        if self.full:
            return rows
        unsorted = np.empty_like(rows)
        unsorted[..., self.order, :] = rows
        return unsorted
