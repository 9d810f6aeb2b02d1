"""A user's data as a table of columns, and answers in the kind of table that came in.

    array, list, dict of columns ─┐
    pandas, polars, pyarrow … ────┼─ Table ─ numbers, times, labels ─ … ─ frame ─ the same kind
    path of a CSV or Parquet file ┘

Arrays, lists and dicts need NumPy alone; frames are read through narwhals, files need polars.
"""

from __future__ import annotations

import csv
import difflib
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks.columns import Column, from_objects
from lstmkit.tasks.forms import looks_like_a_time
from lstmkit.tasks.frames import Frame

_VALUE = re.compile(r"[+-]?\d*\.?\d+([eE][+-]?\d+)?")


class Table:
    """Named columns of equal length; made by `Table.of`.

    Attributes
    ----------
    kind : {"array", "list", "dict", "frame", "series"}
        What came in. A file is a "frame" (of polars). A "series" is one of pandas or polars.
    names : list
        The columns' names, in their order: of an array 0 to F - 1.
    rows : int
    index : list
        The names of a pandas index that may serve as columns; else empty.
    path : Path, optional
        The file. Of a CSV file all columns are text, and are understood when they are used.
    """

    def __init__(
        self,
        kind: str,
        columns: Mapping[Any, Array],
        rows: int,
        *,
        frame: Frame | None = None,
        path: Path | None = None,
        lines: Sequence[int] = (),
        ndim: int = 2,
    ) -> None:
        self.kind = kind
        self.names = list(columns) if frame is None else frame.names
        self.rows = rows
        self.index = [] if frame is None else frame.index
        self.path = path
        self._columns = columns
        self._frame = frame
        self._lines = lines
        self._ndim = ndim
        self._read: dict[Any, Column] = {}

    @classmethod
    def of(cls, owner: str, data: Any) -> Table:
        """Make a table of an array, a list, a dict, a frame, a series or a path.

        Parameters
        ----------
        owner
            Who speaks, for messages.
        data
            An array (T,) or (T, F), or nested lists of that shape; a structured array; a dict from
            names to columns (T,); a frame or series of pandas, polars, pyarrow or another library
            that narwhals knows, in memory; or the path of a CSV or Parquet file. A CSV file begins
            with the columns' names; its separator is a comma, a semicolon, a tab or a bar; all of
            it is read as text and understood when a column is used.

        Raises
        ------
        InputError
            If data is none of these, has no rows or no columns, or has two columns of one name.
        OSError
            If a file cannot be read.

        Examples
        --------
        >>> table = Table.of("example", {"month": ["1949-01", "1949-02"], "passengers": [112, 118]})
        >>> table.names, table.rows
        (['month', 'passengers'], 2)
        >>> table.numbers("example", "passengers")
        array([112., 118.])
        """
        if isinstance(data, Table):
            return data
        if isinstance(data, str | os.PathLike):
            table = _file(owner, Path(data))
        elif isinstance(data, Mapping):
            table = _dict(owner, data)
        elif isinstance(data, np.ndarray | list | tuple):
            table = _array(owner, data)
        else:
            table = _frame(owner, data)
        if not table.names or table.rows == 0:
            what = "columns" if not table.names else "rows"
            raise InputError(f"{owner}: data has no {what}; expected at least one (give some data)")
        return table

    @property
    def one_axis(self) -> bool:
        """Whether the data was an array or a list (T,) of numbers."""
        return self._ndim == 1

    # ------------------------------ reading

    def column(self, owner: str, name: Any) -> Column:
        """Return a column, or say which there are."""
        known = [*self.names, *self.index]
        if name not in known:
            near = difflib.get_close_matches(str(name), [str(other) for other in known], 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            some = ", ".join(repr(other) for other in known[:20])
            more = f" and {len(known) - 20} more" if len(known) > 20 else ""
            raise InputError(
                f"{owner}: there is no column {shown(repr(name))}; the columns are "
                f"{shown(some, 600)}{more}{hint}"
            )
        if name in self._read:
            return self._read[name]
        if self._frame is None:
            self._read[name] = Column(name, self._columns[name])
        else:
            self._read[name] = self._frame.column(name)
        return self._read[name]

    def numbers(self, owner: str, name: Any) -> NDArray[np.float64]:
        """Return a column (rows,) as float64, missing values as nan; see `Column.numbers`."""
        return self.column(owner, name).numbers(owner, self.place)

    def times(self, owner: str, name: Any) -> Array:
        """Return a column (rows,) as ``datetime64`` or int64, see `Column.times`.

        Where it has a `zone`, these are instants (UTC).
        """
        return self.column(owner, name).times(owner, self.place)

    def zone(self, owner: str, name: Any) -> str | None:
        """Return the zone of a column of times, after `times` was called."""
        return self.column(owner, name).zone

    def labels(self, owner: str, name: Any) -> list[Any]:
        """Return a column (rows,) as Python objects that can be keys; none may be missing."""
        return self.column(owner, name).labels(owner, self.place)

    def time_columns(self) -> list[Any]:
        """Return the names of the columns that hold times; an index of times goes before all."""
        for name in self.index:
            if self.column("", name).looks_like_times():
                return [name]
        return [name for name in self.names if self.column("", name).looks_like_times()]

    def counted_index(self) -> tuple[Any, Array, int] | None:
        """Return name, values and step of a pandas index that counts the rows; else None."""
        if len(self.index) != 1:
            return None
        counts = self.column("", self.index[0]).values
        steps = np.unique(np.diff(counts)) if counts.dtype.kind in "iu" else np.empty(0)
        if len(counts) == 1 and counts.dtype.kind in "iu":
            steps = np.ones(1)
        return (self.index[0], counts, int(steps[0])) if len(steps) == 1 else None

    def place(self, row: int) -> str:
        """Say where the user finds a row: the line of a CSV file, or the number from 0 on."""
        if self.path is not None and self._lines:
            return f"line {self._lines[row]} of {self.path.name}"
        return f"row {row} (the first is row 0)"

    # ------------------------------ answering

    def frame(self, columns: Mapping[Any, Any]) -> Any:
        """Return columns as the kind of data that this table was made of.

        Parameters
        ----------
        columns
            From names to arrays (n,) or lists. A name of this table gets that column's dtype back:
            times (given as `times` returns them) their unit, zone and form, labels their own.

        Returns
        -------
        data
            Of an array one of floats, (n, columns), or (n,) of one axis and one column; of a list
            nested lists; of a dict a dict of arrays; of a frame one of the same library; of a
            series a series, or a frame if there are several columns. pandas gets its index back
            where a column is of the index. Of a CSV file a frame of polars, whose times are text
            in the form of the file.
        """
        values = {name: self._restored(name, value) for name, value in columns.items()}
        if self.kind in ("array", "list"):
            stacked = np.stack([np.asarray(value) for value in values.values()], axis=1)
            answer = stacked[:, 0] if self._ndim == 1 and stacked.shape[1] == 1 else stacked
            return answer if self.kind == "array" else answer.tolist()
        if self.kind == "dict":
            return {name: _as_array(value) for name, value in values.items()}
        if self._frame is None:  # a CSV file
            polars = _polars("data", "holds what answers a CSV file")
            return polars.DataFrame({str(name): value for name, value in values.items()})
        return self._frame.build(values)

    def _restored(self, name: Any, value: Any) -> Any:
        column = self._read.get(name)
        if column is None or not isinstance(value, np.ndarray) or value.dtype.kind not in "Mi":
            return value
        return column.restored(value)


def _as_array(value: Any) -> Any:
    return from_objects(value) if isinstance(value, list) else value


# ------------------------------ arrays, lists, dicts


def _array(owner: str, data: Any) -> Table:
    kind = "array" if isinstance(data, np.ndarray) else "list"
    if isinstance(data, np.ma.MaskedArray):
        data = np.ma.filled(data.astype(np.float64), np.nan)
    if isinstance(data, np.ndarray) and data.dtype.names:
        return Table("dict", {name: data[name] for name in data.dtype.names}, len(data))
    if kind == "list":
        rows = [row for row in data if isinstance(row, list | tuple | np.ndarray)]
        widths = {len(row) for row in rows}
        if len(widths) > 1 or (rows and len(rows) < len(data)):
            raise InputError(
                f"{owner}: data is a list whose rows differ in length ({_some(widths)}); expected "
                "(time,) or (time, columns) (many series: a list of NumPy arrays)"
            )
    array = np.asarray(data) if kind == "array" else _nested(data)
    if array.ndim not in (1, 2):
        raise InputError(
            f"{owner}: data has shape {array.shape}; expected (time,) or (time, columns) (many "
            "series: a list of arrays, one each)"
        )
    table = array[:, None] if array.ndim == 1 else array
    columns = {k: table[:, k] for k in range(table.shape[1])}
    return Table(kind, columns, len(array), ndim=array.ndim)


def _nested(data: Any) -> Array:
    flat = [list(row) if isinstance(row, list | tuple | np.ndarray) else row for row in data]
    if flat and isinstance(flat[0], list):
        objects = np.empty((len(flat), len(flat[0])), object)
        for k, row in enumerate(flat):
            for m, item in enumerate(row):
                objects[k, m] = item
    else:
        return from_objects(flat)
    if all(type(item) in (int, float) for item in objects.ravel().tolist()):
        return objects.astype(np.float64)
    return objects


def _dict(owner: str, data: Mapping[Any, Any]) -> Table:
    columns: dict[Any, Array] = {}
    for name, values in data.items():
        if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
            raise InputError(
                f"{owner}: column {shown(repr(name))} is {shown(repr(values), 60)}; expected a "
                "column of values"
            )
        array = from_objects(values if isinstance(values, list | tuple) else np.asarray(values))
        if array.ndim != 1:
            raise InputError(
                f"{owner}: column {shown(repr(name))} has shape {array.shape}; expected (rows,)"
            )
        columns[name] = array
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        short, long = min(lengths, key=lengths.__getitem__), max(lengths, key=lengths.__getitem__)
        raise InputError(
            f"{owner}: column {shown(repr(short))} has {lengths[short]} rows and column "
            f"{shown(repr(long))} has {lengths[long]}; expected as many in all"
        )
    return Table("dict", columns, next(iter(lengths.values()), 0))


def _some(values: Any) -> str:
    listed = sorted(values)
    return ", ".join(map(str, listed[:4])) + (" …" if len(listed) > 4 else "")


# ------------------------------ files


def _file(owner: str, path: Path) -> Table:
    if "\0" in str(path):
        raise InputError(f"{owner}: data is {shown(repr(str(path)), 60)}; expected a path")
    with open(path, "rb") as file:
        start = file.read(4)
    for packed, mark in (("gzip", b"\x1f\x8b"), ("zip, or a workbook", b"PK\x03\x04")):
        if start.startswith(mark):
            raise InputError(
                f"{owner}: {path.name} is packed ({packed}); expected a CSV or Parquet file "
                "(unpack it, or save it as CSV)"
            )
    _polars(owner, f"holds what answers {path.name}")  # said now, not after the training
    if start == b"PAR1":
        return _frame(owner, _parquet(owner, path), path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return _csv(owner, path, file)
    except UnicodeDecodeError:
        raise InputError(
            f"{owner}: {path.name} is not UTF-8 text; expected a CSV or Parquet file (save it as "
            "CSV in UTF-8)"
        ) from None


def _csv(owner: str, path: Path, file: TextIO) -> Table:
    first = re.sub(r'"[^"]*"', "", file.readline(1 << 20))
    file.seek(0)
    reader = csv.reader(file, delimiter=max(",;\t|", key=first.count), strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        names = [name.strip() for name in next(reader, [])]
        _check_names(owner, path, names)
        for fields in reader:
            if len(fields) != len(names) and fields:
                raise InputError(
                    f"{owner}: line {reader.line_num} of {path.name} has {len(fields)} fields; "
                    f"expected {len(names)}, as line 1 has (correct the file)"
                )
            rows.append(fields or [""] * len(names))
            lines.append(reader.line_num)
    except csv.Error as error:
        what = f"line {reader.line_num} of {path.name} cannot be read as CSV: {shown(error)}"
        if "end of data" in str(error):
            last = lines[-1] if lines else 1
            what = f"{path.name} ends within a field in quotation marks, begun after line {last}"
        raise InputError(f"{owner}: {what} (correct the file)") from None
    while rows and not any(rows[-1]):
        rows.pop()  # empty lines at the end
    columns = {name: from_objects([row[k] for row in rows]) for k, name in enumerate(names)}
    return Table("frame", columns, len(rows), path=path, lines=lines)


def _check_names(owner: str, path: Path, names: list[str]) -> None:
    """Raise `InputError` unless the first line of a CSV file holds the names of its columns."""
    which = f"{owner}: {path.name}"
    if not names or not all(names):
        what = f"no name for column {names.index('') + 1}" if any(names) else "no names"
        raise InputError(
            f"{which} has {what} in line 1; expected a CSV file that begins with the "
            "names of its columns"
        )
    numbered = any(names == [str(k + first) for k in range(len(names))] for first in (0, 1))
    if not numbered and all(map(_is_value, names)):
        raise InputError(
            f"{which} has {shown(repr(names[0]), 40)} as the name of a column in line 1, and no "
            "words; expected the names of the columns there (put a line of names above)"
        )
    double = [name for name in names if names.count(name) > 1]
    if double:
        raise InputError(
            f"{which}, line 1: the column {shown(repr(double[0]))} occurs "
            f"{names.count(double[0])} times; expected each name once (rename them)"
        )


def _is_value(text: str) -> bool:
    """Whether text is more likely a value than the name of a column: a number or a date."""
    return _VALUE.fullmatch(text) is not None or looks_like_a_time(text)


def _polars(owner: str, why: str) -> Any:
    try:
        import polars
    except ImportError:
        raise InputError(
            f"{owner}: polars {why} and is not installed; install it with: "
            'pip install "lstmkit[tasks]"'
        ) from None
    return polars


def _parquet(owner: str, path: Path) -> Any:
    """Read a file with polars; a file that it cannot read is one line."""
    polars = _polars(owner, "reads Parquet files")
    try:
        return polars.read_parquet(path)
    except polars.exceptions.PolarsError as error:
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
    except BaseException as error:  # polars' own panics are no Exceptions
        if type(error).__name__ != "PanicException":
            raise
        why = "it is damaged"
    raise InputError(f"{owner}: {path.name} cannot be read as Parquet: {shown(why)}")


def _frame(owner: str, data: Any, path: Path | None = None) -> Table:
    if data is None or type(data).__module__ == "builtins":
        raise InputError(
            f"{owner}: data is {shown(repr(data), 60)}; expected an array, a dict of columns, a "
            "frame, or the path of a CSV or Parquet file"
        )
    frame = Frame(owner, data)
    kind = "series" if frame.is_series else "frame"
    return Table(kind, {}, frame.rows, frame=frame, path=path)
