"""Powers that make a series' swings as large at its high values as at its low ones, and back."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lstmkit.shapes import Array

POWERS = ("none", "sqrt", "log")  # the plainest first


def forward(values: Array, power: str) -> Array:
    """Apply the power: values as they are, their square roots or their logarithms.

    Examples
    --------
    >>> forward(np.array([1.0, 4.0]), "sqrt")
    array([1., 2.])
    """
    if power == "log":
        return np.log(values)
    return np.sqrt(values) if power == "sqrt" else values


def inverse(values: Array, power: str) -> Array:
    """Undo the power. Below 0 there is no square root: such a value gives 0.

    Examples
    --------
    >>> inverse(np.array([-1.0, 2.0]), "sqrt")
    array([0., 4.])
    """
    if power == "log":
        return np.exp(values)
    return np.square(np.maximum(values, 0)) if power == "sqrt" else values


def allowed(targets: Iterable[Array], power: str) -> bool:
    """Whether every value can be transformed: roots need 0 or more, logarithms more than 0."""
    least = min((float(target.min()) for target in targets if target.size), default=1.0)
    return power == "none" or least > 0 or (power == "sqrt" and least == 0)
