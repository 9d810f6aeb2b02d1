"""Ragged batches: sort by length, pack the real steps together, and put everything back.

``x (N, T, I)`` with lengths becomes ``(tokens, I)``: step 0 of all sequences, longest first, then
step 1 of those that have one, and so on. PyTorch's PackedSequence has the same order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import DTypeLike, NDArray

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
    empty : callable
        Makes the arrays, as `numpy.empty` does.

    Attributes
    ----------
    sizes : list of int
        How many sequences are running at each step; steps that nobody has are left out.
    tokens : int
        The number of real steps in all.
    """

    def __init__(
        self,
        batch: int,
        steps: int,
        lengths: NDArray[np.int64] | None = None,
        empty: Callable[[tuple[int, ...], DTypeLike], Array] = np.empty,
    ) -> None:
        self.batch, self.steps, self._empty = batch, steps, empty
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
        self._starts = np.concatenate(([0], np.cumsum(self.sizes)))[:-1].astype(np.intp)
        self._time = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self._sorted_row = np.arange(self.tokens) - self._starts[self._time]
        place: Index = self.order[self._sorted_row] * steps + self._time
        self._place = place  # in the flat (N · T)

    @cached_property
    def _mirror(self) -> Index:
        """Where each step stands in its sequence turned around; one direction needs none of it."""
        last = self.sorted_lengths[self._sorted_row] - 1
        mirror: Index = self._starts[last - self._time] + self._sorted_row
        return mirror

    def pack(self, x: Array) -> Array:
        """(N, T, …) → (tokens, …), a copy."""
        rest = x.shape[2:]
        packed = self._empty((self.tokens, *rest), x.dtype)
        if self.full:
            np.copyto(packed.reshape(self.steps, self.batch, *rest), x.swapaxes(0, 1))
        else:
            x.reshape(-1, *rest).take(self._place, axis=0, out=packed, mode="clip")
        return packed

    def unpack(self, packed: Array) -> Array:
        """(tokens, …) → (N, T, …), a copy with zeros past each end."""
        rest = packed.shape[1:]
        x = self._empty((self.batch, self.steps, *rest), packed.dtype)
        if self.full:
            np.copyto(x, packed.reshape(self.steps, self.batch, *rest).swapaxes(0, 1))
        else:
            x.fill(0)
            x.reshape(-1, *rest)[self._place] = packed
        return x

    def mirror(self, packed: Array) -> Array:
        """Turn each sequence around within its own length. Twice gives back the original."""
        turned = self._empty(packed.shape, packed.dtype)
        if self.full:
            shape = self.steps, self.batch, *packed.shape[1:]
            np.copyto(turned.reshape(shape), packed.reshape(shape)[::-1])
        else:
            packed.take(self._mirror, axis=0, out=turned, mode="clip")
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
