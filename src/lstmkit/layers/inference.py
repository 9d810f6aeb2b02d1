"""Links of a chain without weights: Activation, Masking, LastStep, Pooling. For inference."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.cell import ACTIVATIONS, Function, check_function
from lstmkit.engine.activations import activation
from lstmkit.shapes import Array, one_of, real_number


def softmax(z: Array) -> Array:
    """Return e^z / Σ e^z over the last axis; the largest z is taken away first."""
    e: Array = np.exp(z - z.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def log_softmax(z: Array) -> Array:
    """Return the logarithm of `softmax`, exact where that is 0."""
    z = z - z.max(axis=-1, keepdims=True)
    z -= np.log(np.exp(z).sum(axis=-1, keepdims=True))
    return z


OVER_ROWS = {"softmax": softmax, "log_softmax": log_softmax}


class Activation:
    """A function of every number, or ``"softmax"`` and ``"log_softmax"`` of the last axis.

    Parameters
    ----------
    function : str or tuple
        One of those, or an activation of a cell; see `lstmkit.cell.Cell`.
    """

    def __init__(self, function: Any) -> None:
        if isinstance(function, str):
            one_of("activation", "function", function, (*OVER_ROWS, *ACTIVATIONS))
        over_rows = isinstance(function, str) and function in OVER_ROWS
        self.function: Function = (
            function if over_rows else check_function("activation", "function", function)
        )

    def __call__(self, z: Array) -> Array:
        """Apply it: any shape, the same shape back."""
        if isinstance(self.function, str) and self.function in OVER_ROWS:
            return OVER_ROWS[self.function](z)
        with np.errstate(over="ignore"):  # σ(−1000) is 0 by way of e^1000 = inf
            return activation(self.function).value(z)


class Masking:
    """Marks the steps to be passed over: those where every feature, or the token, is ``value``.

    Keras's ``Masking(mask_value)``, which also sets those steps to 0, and, before an Embedding, its
    ``mask_zero``.
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = real_number("masking", "value", value)

    def __call__(self, x: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Return x and the mask ``(N, T)``: True where a step counts."""
        if x.dtype.kind in "iu":
            return x, x != self.value
        mask: NDArray[np.bool_] = (x != self.value).any(axis=-1)
        return x * mask[..., None], mask


class LastStep:
    """From ``(N, T, …)`` to ``(N, …)``: the last step of each sequence that is not masked.

    Of a bidirectional layer it shows what stands at that place: the end of the forward direction
    and the beginning of the other, as ``y[:, -1]`` does. (`Recurrent`'s ``last`` shows both ends.)
    """

    def __call__(self, y: Array, mask: NDArray[np.bool_] | None = None) -> Array:
        """Return the last steps; 0 where a sequence has none."""
        steps = y.shape[1]
        if not steps:
            return np.zeros((len(y), *y.shape[2:]), y.dtype)
        if mask is None:
            return np.ascontiguousarray(y[:, -1])
        place = steps - 1 - np.argmax(mask[:, ::-1], axis=1)
        last: Array = y[np.arange(len(y)), place]
        last[~mask.any(axis=1)] = 0
        return last


class Pooling:
    """From ``(N, T, F)`` to ``(N, F)``: mean or maximum over the steps that are not masked.

    Parameters
    ----------
    how : {"mean", "max"}

    Examples
    --------
    >>> y = np.array([[[1.0, 5.0], [3.0, 2.0]]])
    >>> Pooling("mean")(y).tolist(), Pooling("max")(y).tolist()
    ([[2.0, 3.5]], [[3.0, 5.0]])
    """

    def __init__(self, how: str) -> None:
        self.how = one_of("pooling", "how", how, POOLINGS)

    def __call__(self, y: Array, mask: NDArray[np.bool_] | None = None) -> Array:
        """Return what is pooled; 0 where a sequence has no step."""
        if mask is None:
            mask = np.ones(y.shape[:2], bool)
        there = mask[..., None]
        pooled: Array
        if self.how == "mean":
            count = np.maximum(mask.sum(axis=1), 1).astype(y.dtype)
            pooled = y.sum(axis=1, where=there) / count[:, None]
        else:
            pooled = y.max(axis=1, where=there, initial=-np.inf)
            pooled[~mask.any(axis=1)] = 0
        return pooled


POOLINGS = ("mean", "max")
