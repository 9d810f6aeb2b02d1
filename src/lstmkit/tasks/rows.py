"""The rows of one series on their way to numbers: in time, what is missing, what is the future."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks import timeline as timelines
from lstmkit.tasks.timeline import Place, Timeline


class Rows(NamedTuple):
    """The numbers of one series, in rising time.

    Attributes
    ----------
    target : (T, n) float64
    past : (T, p) float64
        Covariates known up to the present; p may be 0.
    known : (T + ahead, k) float64
        Covariates known in the future too, with the rows after the last target; k may be 0.
    """

    target: NDArray[np.float64]
    past: NDArray[np.float64]
    known: NDArray[np.float64]


class Columns(NamedTuple):
    """Which column is what.

    Attributes
    ----------
    time : name, optional
        None where rows are counted.
    series : name, optional
        None where the table holds one series.
    target, past, future : tuple of names
    """

    time: Any
    series: Any
    target: tuple[Any, ...]
    past: tuple[Any, ...]
    future: tuple[Any, ...]


class One:
    """The rows of one series on their way to numbers."""

    def __init__(
        self, owner: str, place: Place, columns: Columns, rows: NDArray[np.int64], missing: str
    ) -> None:
        self.owner, self.columns, self.missing = owner, columns, missing
        self._place = place
        self.rows = rows  # of the table; -1 where a time was missing and is put in
        self.times = np.empty(0)

    def place(self, row: int) -> str:
        """Say where the user finds one of these rows."""
        return self._place(int(self.rows[row]))

    def place_in_time(self, times: Array, timeline: Timeline | None, zone: str | None) -> Timeline:
        """Check the times, put in those that are missing, return the step."""
        fill = self.missing == "fill"
        if timeline is None:
            timeline = timelines.detect(
                self.owner, self.columns.time, times, place=self.place, zone=zone, gaps=fill
            )
        else:
            timelines.check(
                self.owner, self.columns.time, times, timeline, place=self.place, gaps=fill
            )
        self.times = times
        if fill and len(times):
            where = timelines.positions(times, timeline)
            total = int(where[-1]) + 1
            if total > 2 * len(times):
                raise InputError(
                    f"{self.owner}: column {shown(repr(self.columns.time))} lacks "
                    f"{total - len(times)} of {total} times; missing='fill' adds at most as many "
                    "as there are (correct the times, or time=False to count rows)"
                )
            rows = np.full(total, -1)
            rows[where] = self.rows
            if total > len(times):
                self.times = timelines.following_counts(
                    times[0], timeline, np.arange(total) * timeline.step
                )
            self.rows = rows
        return timeline

    def read(self, numbers: Mapping[Any, Array], horizon: int) -> Rows:
        """Take the rows' numbers out of those of all rows."""
        target = self._stack(numbers, self.columns.target)
        empty = np.asarray(np.isnan(target).all(1))
        if empty.all():
            raise InputError(
                f"{self.owner}: column {shown(repr(self.columns.target[0]))} has no value in "
                f"{len(target)} rows; expected numbers (name another target)"
            )
        length = len(target) - int(np.argmin(empty[::-1]))
        ahead = len(target) - length
        if ahead and not self.columns.future and self.missing == "error":
            raise InputError(
                f"{self.owner}: column {shown(repr(self.columns.target[0]))}, "
                f"{self.place(length)}: is missing from here to the end; expected a number (drop "
                "these rows, or name the columns known for them: future=)"
            )
        if self.columns.future and ahead < horizon:
            raise InputError(
                f"{self.owner}: data has {ahead} rows after the last target; expected {horizon}, "
                f"the horizon, with {listing(self.columns.future)} known there (give these rows, "
                "their target left empty)"
            )
        return Rows(
            self._whole(target[:length], self.columns.target),
            self._whole(self._stack(numbers, self.columns.past)[:length], self.columns.past),
            self._whole(self._stack(numbers, self.columns.future), self.columns.future),
        )

    def _stack(self, numbers: Mapping[Any, Array], names: Sequence[Any]) -> NDArray[np.float64]:
        stacked = np.full((len(self.rows), len(names)), np.nan)
        there = self.rows >= 0
        for k, name in enumerate(names):
            stacked[there, k] = numbers[name][self.rows[there]]
        return stacked

    def _whole(self, values: NDArray[np.float64], names: Sequence[Any]) -> NDArray[np.float64]:
        """Return values none of which is missing."""
        lacking = np.isnan(values)
        if not lacking.any():
            return values
        if self.missing == "fill":
            for k, name in enumerate(names):
                if lacking[:, k].all():
                    raise InputError(
                        f"{self.owner}: column {shown(repr(name))} has no value in {len(values)} "
                        "rows; expected numbers (leave the column out)"
                    )
            return filled(values)
        row, k = (int(index) for index in np.argwhere(lacking)[0])
        raise InputError(
            f"{self.owner}: column {shown(repr(names[k]))}, {self.place(row)}: is missing (nan); "
            f"expected a number (correct it, or missing='fill' repeats the value before; missing "
            f"in this column: {int(lacking[:, k].sum())})"
        )


def filled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fill nan (T, columns) with the value before, at the beginning with the first value after.

    Examples
    --------
    >>> filled(np.array([[np.nan], [1.0], [np.nan], [2.0]]))[:, 0]
    array([1., 1., 1., 2.])
    """
    there = ~np.isnan(values)
    rows = np.arange(len(values))[:, None]
    latest = np.maximum.accumulate(np.where(there, rows, -1), axis=0)
    latest = np.where(latest < 0, np.argmax(there, axis=0), latest)
    return np.asarray(np.take_along_axis(values, latest, axis=0))


def listing(names: Sequence[Any]) -> str:
    """Name columns in a message."""
    some = ", ".join(repr(name) for name in names[:10])
    return shown(some + (f" and {len(names) - 10} more" if len(names) > 10 else ""), 400)
