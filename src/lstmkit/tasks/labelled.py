"""Labelled sequences from a file: an archive's .ts, a table (CSV, Parquet), or NumPy's .npz.

A table is wide or long. In a wide one a row is a sequence of one feature: beside its label its
columns are the steps. In a long one a row is a step: a column names the sequence that it belongs
to, and the others are the features.
"""

from __future__ import annotations

import os
import zipfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks import tsfile
from lstmkit.tasks.tables import Table
from lstmkit.tasks.timeline import ordered

LABELS = ("label", "class")  # columns that need not be named
ENDINGS = (".ts", ".csv", ".parquet", ".npz")
TABLES = (".csv", ".parquet")


class Labelled(NamedTuple):
    """Sequences, and what is said of each.

    Attributes
    ----------
    sequences : (n, T, F) array, or list of (T, F)
    labels : (n,)
        Text or numbers; a list of (T,) where every step has its own.
    names : list of str
        What the sequences are called: as the column ``series`` has it, else their number from 0.
    """

    sequences: Any
    labels: Any
    names: list[str]

    def take(self, chosen: Array) -> Labelled:
        """Return the sequences with these numbers."""
        rows = [int(k) for k in chosen]
        ragged = isinstance(self.sequences, list)
        sequences = [self.sequences[k] for k in rows] if ragged else self.sequences[chosen]
        return Labelled(sequences, self.labels[chosen], [self.names[k] for k in rows])

    def __str__(self) -> str:
        """Say how many there are, how long and how wide."""
        lengths = [len(sequence) for sequence in self.sequences]
        steps = (
            str(min(lengths))
            if min(lengths) == max(lengths)
            else (f"{min(lengths)} to {max(lengths)}")
        )
        first = np.asarray(self.sequences[0])
        wide = 1 if first.ndim == 1 else first.shape[1]
        return (
            f"{len(lengths):,} sequence{'s' * (len(lengths) != 1)} of {steps} steps, "
            f"{wide} feature{'s' * (wide != 1)}"
        )


def read(
    owner: str,
    path: str | os.PathLike[str],
    *,
    label: str | None = None,
    series: str | None = None,
    time: str | None = None,
    numbers: bool = False,
    each_step: bool = False,
    missing: bool = True,
) -> Labelled:
    """Read labelled sequences.

    Parameters
    ----------
    owner
        Who speaks in a message.
    path
        A ``.ts`` file, a ``.csv`` or ``.parquet`` table, or an ``.npz`` with ``X`` and ``y``.
    label
        The table's column of labels; without it the one that is called label or class.
    series
        The column that says of each row of a long table which sequence it belongs to; the rows of
        a sequence come in their order. Without it the table is wide.
    time
        A long table's column of times, which must rise within a sequence; it is no feature.
    numbers
        Whether labels are numbers to estimate.
    each_step
        Whether in a long table each row has its own label.
    missing
        Whether missing values of a table pass; else the first one is an error.

    Raises
    ------
    InputError
        If the file is of none of these kinds, or a column is missing or cannot be used. The
        message is one line.
    OSError
        If the file cannot be read.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"{owner}: {os.fspath(path)!r} ends in {ending!r}; expected one of {', '.join(ENDINGS)}"
        )
    if ending not in TABLES:
        for name, given in (("label", label), ("series", series), ("time", time)):
            if given is not None:
                raise InputError(
                    f"{owner}: {name} is {given!r}, and {os.fspath(path)!r} has no named columns; "
                    f"leave {name} out"
                )
    if ending not in TABLES:
        read_one = _from_npz if ending == ".npz" else _from_ts
        return _checked(owner, os.fspath(path), read_one(owner, path), numbers, each_step)
    table = Table.of(owner, path)
    chosen = _label_column(owner, path, table, label)
    if series is None:
        if time is not None or each_step:
            what = "time is given" if time is not None else "the model labels every step"
            raise InputError(
                f"{owner}: {what} and series is not; expected series, the column of a long table "
                "that says which sequence a row belongs to"
            )
        columns = [name for name in table.names if name != chosen]
        steps = _numbers(owner, table, columns, missing)[:, :, None]
        return Labelled(steps, _said(owner, table, chosen, numbers), _numbered(len(steps)))
    columns = [name for name in table.names if name not in (chosen, series, time)]
    values = _numbers(owner, table, columns, missing)
    said = _said(owner, table, chosen, numbers)
    groups = _groups(owner, table, series, time)
    names = [str(table.labels(owner, series)[rows[0]]) for rows in groups]
    if each_step:
        return Labelled([values[rows] for rows in groups], [said[rows] for rows in groups], names)
    for name, rows in zip(names, groups, strict=True):
        other = np.flatnonzero(said[rows] != said[rows[0]])
        if len(other):
            row = rows[other[0]]
            raise InputError(
                f"{owner}: column {chosen!r}, {table.place(row)}: is {shown(str(said[row]), 60)}, "
                f"and sequence {shown(name, 60)} began with {shown(str(said[rows[0]]), 60)}; "
                "expected one label for a sequence"
            )
    firsts = [int(rows[0]) for rows in groups]
    return Labelled([values[rows] for rows in groups], said[firsts], names)


def held_out(owner: str, labels: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Return the numbers of the sequences to learn from, and of those to be judged by.

    Of every class that has at least two sequences about the same share is held out, drawn at
    random, and at least one.

    Raises
    ------
    InputError
        If no class has two.
    """
    rng, held = np.random.default_rng(seed), np.zeros(len(labels), bool)
    for one in np.unique(labels):
        rows = np.flatnonzero(labels == one)
        if len(rows) > 1:
            most = min(max(round(share * len(rows)), 1), len(rows) - 1)
            held[rng.permutation(rows)[:most]] = True
    if not held.any():
        raise InputError(
            f"{owner}: no label occurs twice; expected at least 2 sequences of a class, one to "
            "learn from and one to be judged by"
        )
    return np.flatnonzero(~held), np.flatnonzero(held)


# ------------------------------ of each kind


def _checked(owner: str, path: str, read: Labelled, numbers: bool, each_step: bool) -> Labelled:
    """Refuse labels that are none of the kind that is asked for."""
    labels = np.asarray(read.labels)
    if each_step and (labels.ndim != 2 or isinstance(read.sequences, list)):
        raise InputError(
            f"{owner}: {path!r} has one label for a sequence; expected one for every step: an "
            ".npz with y (n, T), or a long table"
        )
    if numbers:
        try:
            return read._replace(labels=labels.astype(np.float64))
        except ValueError:
            raise InputError(
                f"{owner}: the labels of {path!r} are text; expected numbers, which the model "
                "estimates"
            ) from None
    if labels.ndim != 1 and not each_step:
        raise InputError(f"{owner}: {path!r} has labels {labels.shape}; expected one a sequence")
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        raise InputError(
            f"{owner}: the labels of {path!r} are numbers with decimals, such as "
            f"{labels[labels != np.floor(labels)][0]:g}; expected classes (SequenceRegressor "
            "estimates values)"
        )
    return read


def _from_ts(owner: str, path: str | os.PathLike[str]) -> Labelled:
    sequences, labels, _ = tsfile.read(path)
    return Labelled(sequences, np.asarray(labels), _numbered(len(sequences)))


def _from_npz(owner: str, path: str | os.PathLike[str]) -> Labelled:
    name = os.fspath(path)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {key: np.asarray(file[key]) for key in ("X", "y")}
    except OSError:
        raise
    except KeyError:
        raise InputError(f"{owner}: {name!r} lacks X or y; expected both arrays") from None
    except (ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile):
        raise InputError(
            f"{owner}: {name!r} holds no plain arrays X and y; expected np.savez(path, X=X, y=y) "
            "of numbers, y also of text (sequences of several lengths: a .ts file or a long table)"
        ) from None
    X, y = arrays["X"], arrays["y"]
    if X.ndim not in (2, 3) or y.ndim not in (1, 2) or len(X) != len(y):
        raise InputError(
            f"{owner}: {name!r} has X {X.shape} and y {y.shape}; expected X (n, T, features) or "
            "(n, T) and y (n,)"
        )
    return Labelled(X if X.ndim == 3 else X[:, :, None], y, _numbered(len(X)))


def _groups(owner: str, table: Table, series: str, time: str | None) -> list[Array]:
    """Return the rows of each sequence of a long table, in the order of the file."""
    places: dict[Any, int] = {}
    member = np.array([places.setdefault(one, len(places)) for one in table.labels(owner, series)])
    order = np.argsort(member, kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(member))[:-1])
    if time is not None:
        times = table.times(owner, time)
        for rows in groups:
            ordered(owner, time, times[rows], partial(_place, table, rows))
    return groups


def _place(table: Table, rows: Array, k: int) -> str:
    return table.place(int(rows[k]))


def _numbers(owner: str, table: Table, columns: list[Any], missing: bool) -> Array:
    if not columns:
        raise InputError(f"{owner}: the table has no column left that holds values")
    values = np.stack([table.numbers(owner, name) for name in columns], 1)
    gaps = np.isnan(values)
    if gaps.any() and not missing:
        row, column = (int(k) for k in np.argwhere(gaps)[0])
        raise InputError(
            f"{owner}: column {columns[column]!r}, {table.place(row)}: the value is missing; "
            "expected a number (put one there, or choose missing: mask or fill)"
        )
    return values


def _label_column(owner: str, path: str | os.PathLike[str], table: Table, label: str | None) -> Any:
    if label is not None:
        table.column(owner, label)
        return label
    found = [name for name in table.names if str(name).lower() in LABELS]
    if len(found) != 1:
        raise InputError(
            f"{owner}: label is not given; expected one of the columns of {os.fspath(path)!r}: "
            f"{shown(', '.join(map(str, table.names)))}"
        )
    return found[0]


def _said(owner: str, table: Table, label: str, numbers: bool) -> Array:
    if not numbers:
        return np.array(table.labels(owner, label))
    values = table.numbers(owner, label)
    if np.isnan(values).any():
        row = int(np.argmax(np.isnan(values)))
        raise InputError(
            f"{owner}: column {label!r}, {table.place(row)}: the value is missing; expected a "
            "number (drop the row)"
        )
    return values


def _numbered(count: int) -> list[str]:
    return list(map(str, range(count)))
