"""Ridge regression from sums over rows, so that no table of all rows is ever in memory.

Hoerl and Kennard 1970: with features brought to mean 0 and variance 1, the weights W minimize the
mean over the rows of ``|y - W x|² + penalty |W|²``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from lstmkit.shapes import Array


class Sums(NamedTuple):
    """What ridge regression needs to know of some rows: their number, and sums of products.

    Attributes
    ----------
    count : int
    features : int
        F, how many of the columns are features; the others are the K to be predicted.
    products : (1 + F + K, 1 + F + K)
        Sums of the products of the columns (1, x, y).
    """

    count: int  # type: ignore[assignment]  # in the place of tuple.count, on purpose
    features: int
    products: Array

    def without(self, other: Sums) -> Sums:
        """Return the sums of the rows that are not among the other's, which are some of these."""
        return Sums(self.count - other.count, self.features, self.products - other.products)


def add_up(rows: Iterable[tuple[Array, Array]]) -> Sums:
    """Add up pairs of x (N, F) and y (N, K), at least one."""
    count, features, total = 0, 0, None
    for x, y in rows:
        columns = np.concatenate([np.ones((len(x), 1)), x, y], axis=1)
        products = columns.T @ columns
        total = products if total is None else total + products
        count, features = count + len(x), x.shape[1]
    if total is None:
        total = np.zeros((1, 1))
    return Sums(count, features, total)


class Ridge:
    """The solutions for some rows: one for every penalty, at the cost of one.

    Parameters
    ----------
    sums : Sums

    Examples
    --------
    >>> x = np.arange(4.0)[:, None]
    >>> weight, bias = Ridge(add_up([(x, 2 * x + 1)])).solve(1e-9)
    >>> weight.round(3), bias.round(3)
    (array([[2.]]), array([1.]))
    """

    def __init__(self, sums: Sums) -> None:
        first, last = 1, 1 + sums.features
        mean = sums.products[0] / sums.count
        covariance = sums.products / sums.count - np.outer(mean, mean)
        self._x, self._y = mean[first:last], mean[last:]
        variance = covariance.diagonal()[first:last]
        # A constant feature has a variance of rounding errors alone: its weight shall be 0.
        floor = 1e-10 * (1 + np.square(self._x))
        self._deviation = np.where(variance > floor, np.sqrt(np.maximum(variance, floor)), np.inf)
        own = covariance[first:last, first:last]
        values, self._vectors = np.linalg.eigh(own / np.outer(self._deviation, self._deviation))
        self._values = np.maximum(values, 0)
        wanted = covariance[first:last, last:] / self._deviation[:, None]
        self._wanted = self._vectors.T @ wanted

    def solve(self, penalty: float) -> tuple[Array, Array]:
        """Return the weights (F, K) and the bias (K,)."""
        shrunk = self._wanted / (self._values + penalty)[:, None]
        weight: Array = (self._vectors @ shrunk) / self._deviation[:, None]
        return weight, self._y - self._x @ weight
