"""Frames and series of pandas, polars, pyarrow and others: their columns, and answers in kind.

Read through narwhals, which knows them all. pandas has two things more that are read and written
here: an index, and its own dtypes (Period, zones).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown
from lstmkit.tasks.columns import Column, from_objects

INDEX = "index"  # what the index of a pandas frame is called where it has no name
_INSTALL = 'is not installed; install it with: pip install "lstmkit[tasks]"'


def narwhals(owner: str) -> Any:
    """Return the package, or say how to install it."""
    try:
        import narwhals
    except ImportError:
        raise InputError(f"{owner}: narwhals reads frames and {_INSTALL}") from None
    return narwhals


class Frame:
    """A frame or series in memory.

    Attributes
    ----------
    native
        What the user gave.
    names : list
        Of the columns; a series is one column, of its own name or 0.
    index : list
        Of the levels of a pandas index that are not columns.
    rows : int
    is_series : bool
    """

    def __init__(self, owner: str, native: Any) -> None:
        nw = narwhals(owner)
        try:
            frame = nw.from_native(native, eager_only=True, allow_series=True)
            names = list(frame.columns) if isinstance(frame, nw.DataFrame) else [frame.name]
        except nw.exceptions.DuplicateError:
            every = [str(name) for name in native.columns]
            double = next(name for name in every if every.count(name) > 1)
            raise InputError(
                f"{owner}: the column {shown(repr(double))} occurs {every.count(double)} times; "
                "expected each name once (rename them)"
            ) from None
        except TypeError:
            what = f"{owner}: data is a {type(native).__name__}"
            if hasattr(native, "collect"):
                raise InputError(
                    f"{what}, which holds no rows yet; expected a frame in memory (call its "
                    "collect() first)"
                ) from None
            raise InputError(
                f"{what}; expected an array, a dict of columns, a frame, or the path of a CSV or "
                "Parquet file"
            ) from None
        self.native = native
        self.rows = len(frame)
        self.is_series = not isinstance(frame, nw.DataFrame)
        self._frame = frame
        self._columns: dict[Any, Callable[[], Any]] = {}
        if self.is_series:
            names = [0 if names[0] in (None, "") else names[0]]
            self._columns[names[0]] = lambda: frame
        for name in names:
            self._columns.setdefault(name, partial(_named, nw, frame, name))
        self.names = names
        self._levels: dict[Any, int] = {}
        self._is_pandas = frame.implementation is nw.Implementation.PANDAS  # a kind of it, too
        if self._is_pandas:
            self._read_index(nw, native.index)
        self.index = list(self._levels)

    def _read_index(self, nw: Any, index: Any) -> None:
        for level, name in enumerate(index.names):
            if name is None:
                name = INDEX if index.nlevels == 1 else f"{INDEX} {level}"
            if name in self._columns and self.column(name).looks_like_times():
                continue  # the same times once more
            if name in self._columns:
                name = INDEX if index.nlevels == 1 else f"{INDEX} {level}"
            self._levels[name] = level
            self._columns[name] = partial(_level, nw, index, level)

    def __reduce__(self) -> Any:
        """To pickle: everything else is made of what the user gave."""
        return Frame, ("data", self.native)

    def column(self, name: Any) -> Column:
        """Return a column or a level of the index."""
        return _column(name, self._columns[name]())

    def build(self, values: Mapping[Any, Any]) -> Any:
        """Return columns (arrays or lists) as a frame, or a series, of the same library.

        Columns that are not floats get the dtype of the column of their name.
        """
        if self._is_pandas:
            return self._pandas(values)
        nw = narwhals("data")
        named = {str(name): value for name, value in values.items()}
        answer = nw.from_dict(named, backend=self._frame.implementation)
        for name, value in values.items():
            if name in self._columns and not _is_float(value):
                series = _cast(nw, answer[str(name)], self._columns[name]())
                answer = answer.with_columns(series.alias(str(name)))
        if self.is_series and len(named) == 1:
            return answer[next(iter(named))].alias(self._frame.name).to_native()
        return answer.to_native()

    def _pandas(self, values: Mapping[Any, Any]) -> Any:
        pandas = sys.modules["pandas"]  # the data is its
        index = self.native.index
        levels, columns = {}, {}
        for name, value in values.items():
            if name in self._levels:
                level = index.get_level_values(self._levels[name])
                levels[name] = _like(pandas, value, level.dtype)
            elif name in self.names and not self.is_series and not _is_float(value):
                columns[name] = _like(pandas, value, self.native[name].dtype)
            else:
                columns[name] = value
        answer = pandas.DataFrame(columns)
        names = [index.names[self._levels[name]] for name in levels]
        if len(levels) == 1:
            (answer.index,) = levels.values()
            (answer.index.name,) = names
            _give_frequency(answer.index, getattr(index, "freq", None))
        elif levels:
            answer.index = pandas.MultiIndex.from_arrays(list(levels.values()), names=names)
        if self.is_series and answer.shape[1] == 1:
            return answer.iloc[:, 0].rename(self.native.name)
        answer.columns.name = getattr(getattr(self.native, "columns", None), "name", None)
        return answer


def _named(nw: Any, frame: Any, name: Any) -> Any:
    if isinstance(name, str):
        return frame[name]
    return nw.from_native(frame.to_native()[name], series_only=True)  # pandas: any name


def _level(nw: Any, index: Any, level: int) -> Any:
    return nw.from_native(index.get_level_values(level).to_series(), series_only=True)


def _is_float(value: Any) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _column(name: Any, series: Any) -> Column:
    """Read a series of narwhals."""
    nw = narwhals("data")
    dtype = series.dtype
    if dtype.is_integer() or dtype == nw.Boolean:
        whole = dtype != nw.Int128 and series.null_count() == 0
        return Column(name, np.asarray(series.to_numpy()) if whole else _floats(nw, series))
    if dtype.is_float() or dtype == nw.Decimal:
        return Column(name, _floats(nw, series))
    if dtype in (nw.Date, nw.Datetime):
        zone = getattr(dtype, "time_zone", None)
        return Column(name, np.asarray(series.to_numpy()), None if zone is None else str(zone))
    if dtype in (nw.String, nw.Object):
        return Column(name, from_objects(series.to_list()))
    if dtype in (nw.Categorical, nw.Enum):
        return Column(name, from_objects(series.to_list()), kind="categories")
    if series.null_count() == len(series):
        return Column(name, np.full(len(series), np.nan))  # a type of nothing but nulls
    native = series.to_native()
    theirs = getattr(native, "dtype", getattr(native, "type", dtype))
    if hasattr(theirs, "freq"):  # pandas' Period: its first moment
        return Column(name, native.dt.to_timestamp().to_numpy())
    zone = getattr(theirs, "tz", None)
    if zone is not None:  # pandas' times in zones whose names narwhals does not understand
        return Column(name, native.dt.tz_convert(None).to_numpy(), str(zone))
    if hasattr(native, "sparse"):
        return Column(name, np.asarray(native.sparse.to_dense().to_numpy()))
    if str(theirs).startswith("date64"):  # of pyarrow: days, in milliseconds
        return Column(name, np.asarray(native.to_numpy(), "datetime64[ms]"))
    kind = shown(str(theirs), 40)
    return Column(name, np.empty(len(series), object), kind=f"type {kind}")


def _floats(nw: Any, series: Any) -> NDArray[np.float64]:
    return np.asarray(series.cast(nw.Float64).to_numpy(), np.float64)


def _cast(nw: Any, series: Any, like: Any) -> Any:
    dtype = like.dtype
    if dtype == nw.Unknown:  # of pyarrow: its own types
        theirs = like.to_native().type
        return nw.from_native(series.to_native().cast(theirs), series_only=True)
    zone = getattr(dtype, "time_zone", None)
    if zone is None:
        return series.cast(dtype)
    series = series.cast(nw.Datetime(dtype.time_unit))
    return series.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)


def _like(pandas: Any, values: Array | list[Any], dtype: Any) -> Any:
    """Return times or labels as a pandas index of that dtype."""
    if hasattr(dtype, "freq"):
        return pandas.PeriodIndex(pandas.DatetimeIndex(values), freq=dtype.freq)
    zone = getattr(getattr(dtype, "pyarrow_dtype", dtype), "tz", None)
    if zone is not None:
        return pandas.DatetimeIndex(values).tz_localize("UTC").tz_convert(zone).astype(dtype)
    return pandas.Index(values, dtype=dtype)


def _give_frequency(index: Any, freq: Any) -> None:
    """Say which step an index of times has, as the user's index does, if that is its step."""
    if freq is None or not hasattr(type(index), "inferred_freq"):
        return
    try:
        index.freq = freq
    except ValueError:  # five days, Monday to Friday, went on as days
        return
