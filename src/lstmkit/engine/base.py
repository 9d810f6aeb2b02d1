"""What both twins share: the words of their contract, and the activations.

Rows of a ragged batch
    The engine works on *packed* arrays ``(tokens, features)``: time by time, and within one time
    step only the sequences that are still running, longest first. ``sizes[t]`` says how many rows
    step t has; it never grows. So the work done is the number of real steps and no more.
    `lstmkit.engine.packing` makes this order and undoes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstmkit.shapes import Array

Weights = dict[str, Array]
"""The weights of one cell by their short names (``weight_ih``), see `Cell.shapes`."""

State = tuple[Array, Array]
"""h ``(N, P or H)`` and c ``(N, H)``, one row a sequence, in packed order."""


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


class Activation(NamedTuple):
    """A function and its derivative, written in terms of the function's own value a."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def sigmoid(z: Array, out: Array | None = None) -> Array:
    """σ(z) = 1 / (1 + e^−z). e^1000 is inf and 1/inf is exactly 0, which is what we want.

    The caller silences NumPy's overflow warning once for the whole pass, not once a step.
    """
    a = np.negative(z)
    np.exp(a, out=a)
    a += 1
    return np.divide(1, a, out=a if out is None else out)


def _hard_sigmoid(z: Array) -> Array:
    """Compute min(1, max(0, z/5 + 1/2)): ONNX's defaults, and Keras 2's; Keras 3 has z/6."""
    line = z * 0.2 + 0.5
    return np.where(line.real <= 0, 0, np.where(line.real >= 1, 1, line)).astype(z.dtype)


ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": Activation(sigmoid, lambda a: a - a * a),
    "tanh": Activation(np.tanh, lambda a: 1 - a * a),
    "relu": Activation(
        lambda z: np.where(z.real > 0, z, 0).astype(z.dtype),
        lambda a: (a > 0).astype(a.dtype),
    ),
    "hard_sigmoid": Activation(
        _hard_sigmoid, lambda a: ((a > 0) & (a < 1)).astype(a.dtype) * a.dtype.type(0.2)
    ),
    "softsign": Activation(
        lambda z: z / (1 + np.where(z.real < 0, -z, z)),
        lambda a: (1 - np.abs(a)) ** 2,
    ),
    "identity": Activation(lambda z: z.copy(), np.ones_like),
}


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
    starts = rows + np.concatenate(([0], np.cumsum(sizes)))[:-1].astype(np.intp)
    row = np.arange(rows)
    lengths = np.searchsorted(-np.asarray(sizes, np.intp), -row, side="left")
    last = row.copy()
    running = lengths > 0
    last[running] += starts[lengths[running] - 1]
    return last
