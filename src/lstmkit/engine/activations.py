"""What each activation computes, and its slope; the names and numbers are in `lstmkit.cell`.

A slope is written in terms of the function's own value a, which is what a tape keeps. Where two
pieces of a function meet, its slope is that of the left one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from lstmkit.cell import Function, name_and_numbers
from lstmkit.shapes import Array


class Activation(NamedTuple):
    """A function of an array, and its derivative in terms of the function's own value a."""

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


def where(condition: Array, yes: Any, no: Any, like: Array) -> Array:
    """`numpy.where` in the dtype of ``like``."""
    chosen: Array = np.where(condition, yes, no).astype(like.dtype, copy=False)
    return chosen


def _relu() -> Activation:
    return Activation(lambda z: where(z.real < 0, 0, z, z), lambda a: (a > 0).astype(a.dtype))


def _hard_sigmoid(alpha: float, beta: float) -> Activation:
    """min(1, max(0, αz + β))."""

    def value(z: Array) -> Array:
        line = z * alpha + beta
        return where(line.real <= 0, 0, where(line.real >= 1, 1, line, z), z)

    return Activation(value, lambda a: where((a > 0) & (a < 1), alpha, 0, a))


def _leaky_relu(alpha: float) -> Activation:
    """Z, and αz below 0."""
    return Activation(
        lambda z: where(z.real > 0, z, alpha * z, z), lambda a: where(a > 0, 1, alpha, a)
    )


def _thresholded_relu(alpha: float) -> Activation:
    """Z, and 0 below α."""
    return Activation(lambda z: where(z.real < alpha, 0, z, z), lambda a: where(a != 0, 1, 0, a))


def _scaled_tanh(alpha: float, beta: float) -> Activation:
    """α tanh(βz), whose slope is αβ(1 − tanh²)."""

    def slope(a: Array) -> Array:
        tanh = a / a.dtype.type(alpha) if a.dtype.type(alpha) else a
        return alpha * beta * (1 - tanh * tanh)

    return Activation(lambda z: alpha * np.tanh(beta * z), slope)


def _elu(alpha: float) -> Activation:
    """Z, and α(e^z − 1) below 0, whose slope is αe^z = a + α."""

    def value(z: Array) -> Array:
        above = z.real > 0
        return where(above, z, alpha * np.expm1(where(above, 0, z, z)), z)

    return Activation(value, lambda a: where(a > 0, 1, a + alpha, a))


def _softplus() -> Activation:
    """ln(1 + e^z) = max(z, 0) + ln(1 + e^−|z|), whose slope σ(z) is 1 − e^−a."""

    def value(z: Array) -> Array:
        above = z.real > 0
        a: Array = where(above, z, 0, z) + np.log1p(np.exp(where(above, -z, z, z)))
        return a

    return Activation(value, lambda a: -np.expm1(-a))


_MAKERS: dict[str, Callable[..., Activation]] = {
    "sigmoid": lambda: Activation(sigmoid, lambda a: a - a * a),
    "tanh": lambda: Activation(np.tanh, lambda a: 1 - a * a),
    "relu": _relu,
    "hard_sigmoid": _hard_sigmoid,
    "softsign": lambda: Activation(
        lambda z: z / (1 + where(z.real < 0, -z, z, z)), lambda a: (1 - np.abs(a)) ** 2
    ),
    "identity": lambda: Activation(lambda z: z.copy(), np.ones_like),
    "affine": lambda alpha, beta: Activation(
        lambda z: alpha * z + beta, lambda a: np.full_like(a, alpha)
    ),
    "leaky_relu": _leaky_relu,
    "thresholded_relu": _thresholded_relu,
    "scaled_tanh": _scaled_tanh,
    "elu": _elu,
    "softplus": _softplus,
}


@lru_cache(maxsize=256)
def activation(function: Function) -> Activation:
    """Return what a name, or a name with numbers, computes.

    >>> import numpy as np
    >>> activation(("leaky_relu", 0.5)).value(np.array([-2.0, 3.0]))
    array([-1.,  3.])
    """
    name, numbers = name_and_numbers(function)
    return _MAKERS[name](*numbers)
