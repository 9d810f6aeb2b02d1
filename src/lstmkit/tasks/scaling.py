"""Scaling inside a model, and what becomes of missing numbers.

    standard   (x - mean) / standard deviation        minmax   (x - least) / (most - least)

of each feature, over all steps of all training sequences in which it is there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lstmkit.shapes import Array, InputError

SCALINGS = ("standard", "minmax", None)
MISSING = ("error", "mask", "fill")


class Scaling(NamedTuple):
    """What is taken from every feature, and what the rest is divided by: (F,) float64 each.

    ``mean`` is that of each feature, unscaled; 0 where the feature was never there.
    """

    center: Array
    scale: Array
    mean: Array

    @classmethod
    def learn(cls, owner: str, values: Array, how: str | None, name: str = "X") -> Scaling:
        """Learn it from steps (tokens, F) with nan where a number is missing.

        A feature that is constant, or never there, gets the scale 1. Without scaling (None) the
        center is 0 and the scale 1.

        Raises
        ------
        InputError
            If numbers are so large that their spread is no finite number.
        """
        features = values.shape[1]
        center, scale, mean = np.zeros(features), np.ones(features), np.zeros(features)
        for k in range(features):
            column = values[:, k].astype(np.float64)
            column = column[~np.isnan(column)]
            if not len(column):
                continue
            with np.errstate(over="ignore", invalid="ignore"):
                mean[k] = column.mean()
                spread = column.max() - column.min() if how == "minmax" else column.std()
            if not (np.isfinite(mean[k]) and np.isfinite(spread)):
                raise InputError(
                    f"{owner}: {name}: column {k} has numbers up to {np.abs(column).max():.3g}, "
                    "too large to scale; give it in a larger unit"
                )
            if how is None:
                continue
            center[k] = mean[k] if how == "standard" else column.min()
            # Equal numbers may have a mean that is not quite theirs: no spread to divide by.
            if spread > 1e-12 * abs(mean[k]):
                scale[k] = spread
        return cls(center, scale, mean)

    def apply(self, values: Array, dtype: DTypeLike) -> Array:
        """Scale in float64, then round to the dtype."""
        scaled = np.subtract(values, self.center, dtype=np.float64)
        scaled /= self.scale
        with np.errstate(over="ignore"):
            return scaled.astype(dtype, copy=False)

    @property
    def middle(self) -> Array:
        """The mean of each feature, scaled."""
        found: Array = (self.mean - self.center) / self.scale
        return found

    def undo(self, values: Array) -> Array:
        """Return what was scaled, in float64."""
        found: Array = values * self.scale + self.center
        return found


def width(features: int, missing: str) -> int:
    """Return how many numbers a step of F features has inside the model."""
    return 2 * features if missing == "mask" else features


def settle(scaled: Array, lengths: Array, missing: str, middle: Array) -> Array:
    """Put numbers where they are missing, in steps (tokens, F) that have been scaled.

    ``middle`` (F,) is the scaled mean of each feature.

    ``"error"``
        There are none.
    ``"mask"``
        The mean of the feature; and beside the features stands, for each of them, 1 where it was
        missing, else 0: (tokens, 2F). (Lipton et al. 2016, "Directly modeling missing data in
        sequences with RNNs", section 4: imputation and indicators.)
    ``"fill"``
        The last number of that feature in the same sequence; before the first one its mean.
    """
    if missing == "error":
        return scaled
    gone = np.isnan(scaled)
    if missing == "mask":
        return np.concatenate([np.where(gone, middle, scaled), gone], axis=1, dtype=scaled.dtype)
    if not gone.any():
        return scaled
    steps = np.arange(len(scaled))[:, None]
    first = np.repeat(np.cumsum(lengths) - lengths, lengths)[:, None]
    # Of each place the last one that is there, looked for from the start of its own sequence.
    last = np.maximum.accumulate(np.where(gone, -1, steps), axis=0)
    found = np.take_along_axis(scaled, np.maximum(last, 0), axis=0)
    return np.where(last < first, middle, found).astype(scaled.dtype, copy=False)
