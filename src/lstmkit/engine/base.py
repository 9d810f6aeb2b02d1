"""What both twins share: the words of their contract.

Rows of a ragged batch
    The engine works on *packed* arrays ``(tokens, features)``: time by time, and within one time
    step only the sequences that are still running, longest first. ``sizes[t]`` says how many rows
    step t has; it never grows. So the work done is the number of real steps and no more.
    `lstmkit.engine.packing` makes this order and undoes it.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from lstmkit.shapes import Array

Weights = dict[str, Array]
"""The weights of one cell by their short names (``weight_ih``), see `Cell.shapes`."""

State = tuple[Array, Array]
"""h ``(N, P or H)`` and c ``(N, H)``, one row a sequence, in packed order."""


class InFile(Protocol):
    """A matrix that stays in a file: it is read each time it is used, and can be read in parts.

    `numpy.asarray` reads all of it. ``rows(parts)`` reads the rows of some slices, one after the
    other, into one new array.
    """

    shape: tuple[int, ...]
    dtype: Any

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array: ...

    def rows(self, parts: list[slice]) -> Array:
        """Read these rows."""


def in_file(array: Any) -> bool:
    """Whether it is an `InFile`."""
    return hasattr(array, "rows")


class Masks(NamedTuple):
    """Random numbers of one cell in one forward pass; they are drawn by the caller.

    Parameters
    ----------
    recurrent : array (N, P or H), optional
        What h is multiplied with on its way into ``weight_hh``: 0, or 1/(1 − rate). One a
        sequence, the same at every step (Gal & Ghahramani 2016).
    zoneout_c : array (tokens, H), optional
        1 where c keeps its old value, else 0. Without it the expectation is taken.
    zoneout_h : array (tokens, P or H), optional
        The same for h.
    """

    recurrent: Array | None = None
    zoneout_c: Array | None = None
    zoneout_h: Array | None = None


NO_MASKS = Masks()


class Tape(NamedTuple):
    """What the forward pass leaves for the backward pass. Nobody changes it."""

    x: Array  # (tokens, I)
    gates: Array  # (tokens, 4H), after their activations
    h: Array  # (N + tokens, P): the initial rows, then every step's
    c: Array  # (N + tokens, H)
    squashed: Array  # (tokens, H): act(c), what the output gate multiplies
    sizes: list[int]
    reset: Array | None  # (tokens,) bool
    masks: Masks
    extras: list[dict[str, Array]]  # one a step, of the variants that are switched on
    norm_ih: tuple[Array, Array] | None


def bound(z: Array, limit: float) -> tuple[Array, Array]:
    """Clip z to ±limit; also return where it was inside, for there the derivative is 1, else 0."""
    inside = np.abs(z.real) <= limit
    clipped: Any = np.where(inside, z, limit * np.sign(z.real))
    return clipped.astype(z.dtype), inside


LAYER_NORM_EPSILON = 1e-5


def normalize(a: Array) -> tuple[Array, Array]:
    """Bring each row to mean 0 and variance 1: return (â, 1/σ), Ba et al. 2016, eq. 4."""
    centred = a - a.mean(axis=1, keepdims=True)
    variance = (centred * centred).mean(axis=1, keepdims=True)
    inverse = 1 / np.sqrt(variance + LAYER_NORM_EPSILON)
    return centred * inverse, inverse


def normalize_backward(dhat: Array, hat: Array, inverse: Array) -> Array:
    """Da = (dâ − mean(dâ) − â mean(dâ ∘ â)) / σ."""
    mean = dhat.mean(axis=1, keepdims=True)
    slope = (dhat * hat).mean(axis=1, keepdims=True)
    da: Array = inverse * (dhat - mean - hat * slope)
    return da


def last_rows(rows: int, sizes: list[int]) -> Any:
    """Where each sequence's last state stands among the initial rows and those of the steps."""
    if sizes and sizes[-1] == rows:  # all are of one length
        tokens = sum(sizes)
        return slice(tokens, tokens + rows)
    row, counts = np.arange(rows), np.asarray(sizes, np.intp)
    lengths = np.searchsorted(-counts, -row, side="left")
    starts = np.zeros(len(sizes) + 1, np.intp)  # of the initial rows, then of each step's
    starts[1:] = np.cumsum(counts) - counts + rows
    return row + starts[lengths]
