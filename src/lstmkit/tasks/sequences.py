"""Sequences as people have them, read into one: arrays, lists of arrays, frames.

Whatever comes in becomes one flat array, one sequence after the other, and their lengths: batches
are then cut by indexing, with no loop over sequences. What it was is remembered, so that answers
go back in the same kind.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, shown

INSTALL = 'pip install "lstmkit[tasks]"'


class InputTypeError(InputError, TypeError):
    """An entry is of a type that is no number; scikit-learn expects a TypeError there."""


class Sequences(NamedTuple):
    """Sequences, one after the other, and what they were.

    Attributes
    ----------
    values : (tokens, F) float32 or float64
        The steps of the first sequence, then those of the second, ...; nan where one is missing.
    lengths : (n,) int64
        Steps of each; all at least 1.
    kind : {"table", "array", "list"}
        Rows of one feature (n, T), an array (n, T, F), or a list of sequences.
    names : list of str, optional
        The features', or of a table the columns' (the steps'), where they came in frames.
    frames : tuple
        The frames, whose kind and index the answers get: one for a table, one a sequence in a list.
    flat : bool
        Of a list: whether its sequences are (T_k,), one feature, and not (T_k, F).
    """

    values: Array
    lengths: NDArray[np.int64]
    kind: str
    names: list[str] | None = None
    frames: tuple[Any, ...] = ()
    flat: bool = False

    @property
    def size(self) -> int:
        """How many sequences there are."""
        return len(self.lengths)

    @property
    def columns(self) -> int:
        """What scikit-learn counts: the columns of a table, else the features."""
        return int(self.lengths[0]) if self.kind == "table" else int(self.values.shape[1])

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each sequence begins in the flat array."""
        return np.cumsum(self.lengths) - self.lengths

    def place(self, row: int, feature: int) -> str:
        """Say where an entry of the flat array stood in what was given."""
        sequence = int(np.searchsorted(self.starts, row, side="right")) - 1
        step = row - int(self.starts[sequence])
        if self.kind == "table":
            return f"column {self._name(step)}, row {sequence}"
        one = "" if self.flat else f"column {self._name(feature)}, "
        return f"sequence {sequence}, {one}row {step}"

    def _name(self, column: int) -> str:
        return repr(self.names[column]) if self.names else str(column)

    def take(self, rows: Array) -> Sequences:
        """Return some of the sequences."""
        index = tokens_of(self.starts[rows], self.lengths[rows])
        return self._replace(values=self.values[index], lengths=self.lengths[rows], frames=())


def tokens_of(starts: Array, lengths: Array) -> NDArray[np.int64]:
    """Return the places in the flat array of sequences with these starts and lengths."""
    before = np.cumsum(lengths) - lengths
    index: NDArray[np.int64] = np.arange(int(lengths.sum())) + np.repeat(starts - before, lengths)
    return index


# ----------------------------------------------------------------------------------- reading


def read(owner: str, X: Any, name: str = "X") -> Sequences:
    """Read sequences of numbers.

    Parameters
    ----------
    owner, name
        Who speaks in an error, and of which argument.
    X
        An array (n, T, F); an array (n, T), nested lists of one length, or a frame: n sequences of
        one feature; or a list of sequences of their own lengths, each an array (T_k, F), an array
        (T_k,) of one feature, or a frame with the features as its columns.

    Raises
    ------
    InputError
        If it is none of these, is empty, or holds text or what else is no number. The message is
        one line and names the place. Missing and infinite numbers are left to `check_finite`.
    """
    if _is_sparse(X):
        raise InputTypeError(
            f"{owner}: {name} is a sparse matrix; expected a dense array (give {name}.toarray())"
        )
    if is_frame(X):
        values, names = _of_frame(owner, name, X)
        return _table(owner, name, values, names, (X,))
    if isinstance(X, str | bytes | dict) or X is None or np.isscalar(X):
        raise InputError(
            f"{owner}: {name} is {shown(repr(X), 60)}; expected an array (n, T, F), rows (n, T) "
            "or a list of sequences"
        )
    if isinstance(X, list | tuple) and len(X) and _is_sequence(X[0]):
        return _ragged(owner, name, X)
    if is_series(X):  # a column of a frame, whose entries may be sequences
        X = np.asarray(X)
    if isinstance(X, np.ndarray) and X.dtype == object and X.ndim == 1 and len(X):
        if _is_sequence(X[0]) or isinstance(X[0], list | tuple):
            return _ragged(owner, name, list(X))
    try:
        array = _array(X)
    except ValueError:  # nested lists of different lengths
        return _ragged(owner, name, list(X))
    if array.ndim == 0:
        raise InputError(
            f"{owner}: {name} is of type {type(X).__name__}; expected an array (n, T, F), rows "
            "(n, T), a frame in memory or a list of sequences"
        )
    if array.shape == (0,):
        _not_empty(owner, name, array.shape, 0, 1, 1)
    array = numbers(owner, name, array)
    if array.ndim == 2:
        return _table(owner, name, array, None, ())
    if array.ndim != 3:
        raise InputError(
            f"{owner}: {name} has shape {array.shape}; expected (n, T, F), or (n, T) for one "
            "feature. Reshape your data: one sequence alone is X[None]"
        )
    count, steps, features = array.shape
    _not_empty(owner, name, array.shape, count, steps, features)
    return Sequences(array.reshape(-1, features), np.full(count, steps), "array")


def _table(
    owner: str, name: str, array: Array, names: list[str] | None, frames: tuple[Any, ...]
) -> Sequences:
    count, steps = array.shape
    _not_empty(owner, name, array.shape, count, 1, steps)
    return Sequences(array.reshape(-1, 1), np.full(count, steps), "table", names, frames)


def _ragged(owner: str, name: str, given: Sequence[Any]) -> Sequences:
    arrays: list[Array] = []
    names: list[str] | None = None
    frames = tuple(one for one in given if is_frame(one))
    for k, one in enumerate(given):
        place = f"{name}[{k}]"
        if is_frame(one):
            array, own = _of_frame(owner, place, one)
            if k and own != names:
                raise InputError(
                    f"{owner}: {place} has the columns {_listed(own)}; expected those of "
                    f"{name}[0], {_listed(names)}"
                )
            names = own
        else:
            try:
                array = numbers(owner, place, _array(one))
            except ValueError as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"{owner}: {place} is a ragged nested list; expected an array (T, F)"
                ) from None
        if array.ndim not in (1, 2):
            raise InputError(
                f"{owner}: {place} has shape {array.shape}; expected (T, F), or (T,) for one "
                "feature. Reshape your data"
            )
        if arrays and array.ndim != arrays[0].ndim:
            raise InputError(
                f"{owner}: {place} has shape {array.shape} and {name}[0] {arrays[0].shape}; "
                "expected all with features or all without"
            )
        if arrays and array.shape[1:] != arrays[0].shape[1:]:
            raise InputError(
                f"{owner}: {place} has {array.shape[1]} features; expected {arrays[0].shape[1]}, "
                f"as {name}[0] has"
            )
        if not len(array):
            raise InputError(f"{owner}: {place} has 0 steps; expected at least 1 (leave it out)")
        arrays.append(array)
    flat = arrays[0].ndim == 1
    lengths = np.array([len(array) for array in arrays], np.int64)
    values = np.concatenate(arrays)
    values = values[:, None] if flat else values
    if not values.shape[1]:
        _not_empty(owner, name, arrays[0].shape, len(arrays), 1, 0)
    return Sequences(values, lengths, "list", names, frames, flat)


def _not_empty(owner: str, name: str, shape: Any, count: int, steps: int, features: int) -> None:
    for size, what in ((count, "sample"), (features, "feature"), (steps, "step")):
        if not size:
            raise InputError(
                f"{owner}: {name} has 0 {what}(s) (shape={tuple(shape)}) while a minimum of 1 is "
                "required."
            )


def _array(X: Any) -> Array:
    return X if isinstance(X, np.ma.MaskedArray) else np.asarray(X)  # which would lose the mask


def numbers(owner: str, name: str, array: Array) -> Array:
    """Return an array of floats, nan for None, or say which entry is no number."""
    kind = array.dtype.kind
    if isinstance(array, np.ma.MaskedArray):  # what is masked is missing
        array = np.ma.filled(array.astype(np.float64), np.nan)
        kind = "f"
    if kind in "mM" and array.size:
        index, value = next(np.ndenumerate(array))
        raise _no_number(owner, name, _where(index), value)
    if kind in "buif":
        wide = array.dtype.itemsize > 4 or kind != "f"
        return np.ascontiguousarray(array, np.float64 if wide else np.float32)
    if kind == "c":
        raise InputError(
            f"{owner}: Complex data not supported: {name} has dtype {array.dtype}; expected real "
            "numbers"
        )
    if kind in "US" and array.size:  # nested lists with one text among numbers come as text
        texts = [(index, value) for index, value in np.ndenumerate(array) if not _is_numeral(value)]
        index, value = texts[0] if texts else next(np.ndenumerate(array))
        raise _no_number(owner, name, _where(index), value.item())
    found = np.empty(array.shape, np.float64)
    for index, value in np.ndenumerate(array):
        if isinstance(value, int | float | np.number | np.bool_) and not isinstance(
            value, complex | np.complexfloating
        ):
            found[index] = value
        elif value is None or type(value).__name__ in ("NAType", "NaTType"):
            found[index] = np.nan
        else:
            raise _no_number(owner, name, _where(index), value)
    return found


def _is_numeral(text: Any) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _where(index: tuple[int, ...]) -> str:
    if len(index) == 2:
        return f"column {index[1]}, row {index[0]}"
    if len(index) == 3:
        return f"sequence {index[0]}, column {index[2]}, row {index[1]}"
    return f"row {index[0]}" if index else "it"


def _no_number(owner: str, name: str, where: str, value: Any) -> InputError:
    said = f"{owner}: {name}, {where} is {shown(repr(value), 60)}"
    if isinstance(value, str | bytes):
        return InputError(f"{said}; expected a number ({_TAKE_OUT})")
    return InputTypeError(
        f"{said}, of type {type(value).__name__}; the argument must be an array without strings, "
        f"each entry a number ({_TAKE_OUT})"
    )


_TAKE_OUT = "take the column out, or give it as numbers"


def check_finite(owner: str, data: Sequences, missing: bool, name: str = "X") -> None:
    """Raise unless all numbers are finite; nan passes where missing ones are provided for."""
    values = data.values
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum(dtype=np.float64)):  # quick, and enough
            return
    wrong = np.isinf(values) if missing else ~np.isfinite(values)
    if wrong.any():
        row, feature = (int(k) for k in np.argwhere(wrong)[0])
        value = values[row, feature]
        if np.isnan(value):
            found, remedy = "NaN", 'fill it in, or choose missing="mask" or "fill"'
        else:
            found, remedy = str(value), "put a number in its place"
        raise InputError(
            f"{owner}: {name} is {found} in {data.place(row, feature)}; expected finite numbers "
            f"({remedy})"
        )


# ------------------------------------------------------------------------------------ frames


def is_frame(value: Any) -> bool:
    """Whether it is a data frame, of whatever library."""
    kind = type(value)  # a lazy frame would look for its columns, and has no length
    return hasattr(kind, "columns") and hasattr(kind, "__len__") and hasattr(kind, "shape")


def is_series(value: Any) -> bool:
    """Whether it is a column of a data frame, with a name."""
    return hasattr(value, "name") and hasattr(value, "to_numpy") and not is_frame(value)


def narwhals() -> Any:
    """Return narwhals, which reads every library's frames."""
    try:
        import narwhals.stable.v2 as nw
    except ImportError:
        try:
            import narwhals as nw  # type: ignore[no-redef]
        except ImportError:
            raise InputError(
                f"frames are read by narwhals, which is not installed; {INSTALL}, or give arrays"
            ) from None
    return nw


def _of_frame(owner: str, name: str, frame: Any) -> tuple[Array, list[str] | None]:
    """Return the numbers of a frame (rows, columns), nan where null, and its columns' names."""
    nw = narwhals()
    try:
        opened = nw.from_native(frame, eager_only=True)
        found = np.empty(opened.shape, np.float64)
    except TypeError:
        raise InputError(
            f"{owner}: {name} is of type {type(frame).__name__}; expected a frame in memory "
            "(of pandas, polars, pyarrow, ...)"
        ) from None
    except ValueError as error:  # columns that have the same name
        raise InputError(
            f"{owner}: {name} cannot be read ({shown(' '.join(str(error).split()))}); expected "
            "columns with names of their own"
        ) from None
    for column, key in enumerate(opened.columns):
        series = opened[:, column]
        if series.dtype.is_numeric() or series.dtype == nw.Boolean:
            found[:, column] = series.cast(nw.Float64).to_numpy()
            continue
        for row, value in enumerate(series.to_list()):
            if isinstance(value, int | float | np.number):
                found[row, column] = value
            elif value is None or type(value).__name__ in ("NAType", "NaTType"):
                found[row, column] = np.nan
            else:
                raise _no_number(owner, name, f"column {key!r}, row {row}", value)
    names = list(opened.columns)
    return found, names if all(isinstance(one, str) for one in names) else None


def as_series(frame: Any, values: Array, name: str = "prediction") -> Any:
    """Return a column of the frame's library, with the frame's index where it has one."""
    nw = narwhals()
    opened = nw.from_native(frame, eager_only=True)
    made = nw.new_series(name=name, values=values.tolist(), backend=opened.implementation)
    index = nw.maybe_get_index(opened)
    if index is not None:
        made = nw.maybe_set_index(made, index=index)
    return nw.to_native(made)


def in_kind(data: Sequences, found: Array) -> Any:
    """Return an answer for each sequence as an array, or for a frame as a column like its own."""
    return as_series(data.frames[0], found) if data.kind == "table" and data.frames else found


def steps_in_kind(data: Sequences, found: Array) -> Any:
    """Return answers for every step, given flat: an array (n, T, ...), or a list for a list.

    For a frame in the list a column like its own, where there is one answer a step.
    """
    if data.kind != "list":
        return found.reshape(data.size, -1, *found.shape[1:])
    parts = np.split(found, data.starts[1:])
    if len(data.frames) == len(parts) and found.ndim == 1:
        return [as_series(frame, part) for frame, part in zip(data.frames, parts, strict=True)]
    return parts


def _is_sequence(value: Any) -> bool:
    """Whether it is one sequence of a list: an array or a frame, no number and no nested list."""
    if is_frame(value):
        return True
    return (
        hasattr(value, "__array__") and not isinstance(value, np.generic) and bool(np.ndim(value))
    )


def _is_sparse(value: Any) -> bool:
    """Whether it is of scipy.sparse: only who has imported it can have made one."""
    sparse = sys.modules.get("scipy.sparse")
    return sparse is not None and bool(sparse.issparse(value))


def _listed(names: list[str] | None) -> str:
    return "without names" if names is None else shown(", ".join(names), 100)
