"""What the forecasting network sees of a series at an origin, and what its answers mean.

The network corrects a naive forecast, which repeats the last season or the last row. It sees the
window before the origin relative to that window's last value, so that the level of a series may
go where it never was: the forecast follows (Kim et al. 2022, "Reversible instance normalization").
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from lstmkit.shapes import Array

SKIP_STEPS = 24  # how many of the last rows of past covariates the linear skip sees
_CHUNK = 1024  # windows at once where all of them are gone through


class Series(NamedTuple):
    """One series, as arrays.

    Attributes
    ----------
    target : (T, n) float64
    past : (T, p)
        Covariates known up to the origin only; p may be 0.
    known : (T + ahead, k)
        Covariates known of the future too, such as the calendar; k may be 0.
    """

    target: Array
    past: Array
    known: Array


class Window(NamedTuple):
    """What the network sees of N origins.

    Attributes
    ----------
    steps : (N, context + horizon, I)
        What the LSTM reads: the history, then the naive forecast.
    flat : (N, F)
        What the linear skip sees.
    """

    steps: Array
    flat: Array


class View(NamedTuple):
    """Windows with the meaning of what is answered to them: forecast = naive + scale · answer.

    Attributes
    ----------
    window : Window
    naive : (N, horizon, n)
    scale : (N, 1, n)
    actual : (N, horizon, n)
        What came; nan where nobody knows.
    """

    window: Window
    naive: Array
    scale: Array
    actual: Array

    @property
    def answer(self) -> Array:
        """The right answer, (N, horizon, n)."""
        right: Array = (self.actual - self.naive) / self.scale
        return right


def chunks(origins: Array) -> Iterator[Array]:
    """Give the origins in pieces that fit into memory."""
    for first in range(0, len(origins), _CHUNK):
        yield origins[first : first + _CHUNK]


def lay_out(series: Sequence[Series], horizon: int) -> tuple[Series, list[int]]:
    """Put series below each other, each with room for a forecast.

    In that room the targets are nan, so that nothing can be learned or copied from it.

    Returns
    -------
    rows : Series
    starts : list of int
        Where each series begins.
    """
    starts, start = list[int](), 0
    parts = list[list[Array]]()
    for one in series:
        size = max(len(one.target), len(one.known)) + horizon
        parts.append(
            [
                _lengthened(one.target, size, np.nan),
                _lengthened(one.past, size, 0.0),
                _lengthened(one.known, size, 0.0),
            ]
        )
        starts.append(start)
        start += size
    target, past, known = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Series(target, past, known), starts


@dataclass(frozen=True)
class Sight:
    """From rows to what the network sees of them.

    Attributes
    ----------
    context, horizon : int
        Rows before an origin and from it on.
    start : int
        The naive forecast repeats the last so many rows.
    level : bool
        Whether the linear skip sees the last value itself, not only the window relative to it;
        with ``local`` it is relative to the window's mean.
    local : bool
        Whether each window is divided by its own spread, for series of different sizes.
    sizes : (int, int, int)
        Targets n, past covariates p and known covariates k.
    shift, scale : (n + p + k,)
        Mean and deviation of the rows.
    units : (2, n)
        Size of a window's moves, and of the errors of the naive forecast.
    least : (n,)
        Added to a window's own spread, so that one that hardly moves is not blown up: a tenth of
        the least deviation of a series.
    """

    context: int
    horizon: int
    start: int
    level: bool
    local: bool
    sizes: tuple[int, int, int]
    shift: Array
    scale: Array
    units: Array
    least: Array

    @classmethod
    def of(
        cls,
        context: int,
        horizon: int,
        start: int,
        level: bool,
        local: bool,
        rows: Series,
        origins: Array,
    ) -> Sight:
        """Measure shift, scale and units on the windows at some origins of the rows."""
        sizes = rows.target.shape[1], rows.past.shape[1], rows.known.shape[1]
        n = sizes[0]
        seen = np.zeros(len(rows.target), bool)
        for step in range(-context, horizon):
            seen[origins + step] = True
        used = [array[seen] for array in rows]
        shift = np.concatenate([a.mean(axis=0) for a in used])
        scale = _positive(np.concatenate([a.std(axis=0) for a in used]))
        breaks = np.flatnonzero(np.diff(origins) > 1) + 1  # another series begins
        spreads = [rows.target[own].std(axis=0) for own in np.split(origins, breaks)]
        least = _positive(0.1 * np.min([_or_infinite(own) for own in spreads], axis=0))
        units = np.ones((2, n))
        sight = cls(context, horizon, start, level, local, sizes, shift, scale, units, least)
        moves, errors = np.zeros(n), np.zeros(n)
        for chosen in chunks(origins):
            view = sight.windows(rows, chosen, np.float64)
            moves += np.square(view.window.steps[:, :context, :n]).mean(axis=1).sum(axis=0)
            errors += np.square(view.answer).mean(axis=1).sum(axis=0)
        units = _positive(np.sqrt(np.stack([moves, errors]) / len(origins)))
        return replace(sight, units=units)

    @property
    def inputs(self) -> int:
        """I of `Window`."""
        n, p, k = self.sizes
        return 2 * n + p + k + 1

    @property
    def flat(self) -> int:
        """F of `Window`."""
        n, p, k = self.sizes
        lags = self.context - 1 + self.level
        return lags * n + min(SKIP_STEPS, self.context) * p + self.horizon * k

    def windows(self, rows: Series, origins: Array, dtype: Any) -> View:
        """Return what is seen at some origins."""
        n, p, _ = self.sizes
        index = origins[:, None] + np.arange(-self.context, self.horizon)
        before, future = index[:, : self.context], index[:, self.context :]
        history = rows.target[before]
        repeated = origins[:, None] - self.start + np.arange(self.horizon) % self.start
        naive = rows.target[repeated]
        shift, scale = (np.split(a, [n, n + p]) for a in (self.shift, self.scale))
        path = np.concatenate([history, naive], axis=1)
        local, level = np.ones((len(origins), 1, n)), (path - shift[0]) / scale[0]
        if self.local:
            variance = history.var(axis=1, keepdims=True)
            local = np.sqrt(variance + self.least**2)
            level = (path - history.mean(axis=1, keepdims=True)) / local
        moves = (path - history[:, -1:]) / (local * self.units[0])
        past = (rows.past[before] - shift[1]) / scale[1]
        unknown = np.zeros((len(origins), self.horizon, p))
        known = (rows.known[index] - shift[2]) / scale[2]
        ahead = np.zeros((*index.shape, 1))
        ahead[:, self.context :] = 1
        past_steps = np.concatenate([past, unknown], axis=1)
        steps = np.concatenate([moves, level, past_steps, known, ahead], axis=2)
        flat = [
            moves[:, : self.context - 1],  # the last of them is 0
            level[:, self.context - self.level : self.context],
            past[:, -SKIP_STEPS:],
            known[:, self.context :],
        ]
        seen = np.concatenate([a.reshape(len(origins), -1) for a in flat], axis=1)
        window = Window(steps.astype(dtype), seen.astype(dtype))
        return View(window, naive, local * self.units[1], rows.target[future])


def _lengthened(array: Array, rows: int, value: float) -> Array:
    longer = np.full((rows, array.shape[1]), value)
    longer[: len(array)] = array
    return longer


def _or_infinite(spread: Array) -> Array:
    return np.where(spread > 1e-12, spread, np.inf)


def _positive(scale: Array) -> Array:
    """Return the scale, 1 where it is 0 or infinite: what never changes is left as it is."""
    return np.where((scale > 1e-12) & np.isfinite(scale), scale, 1.0)
