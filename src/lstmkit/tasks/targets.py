"""What sequences are to be taught: labels and values, one a sequence or one a step.

Steps' targets are flat, as the sequences' values are: those of the first sequence, then those of
the second, ...
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit.shapes import Array, InputError, real_array, shown


def one_each(owner: str, y: Any, count: int, columns: bool = False) -> Array:
    """Return y as an array (n,), or (n, K) where columns are allowed.

    Raises
    ------
    InputError
        If it is None, has another shape or is not as long as X.
    """
    array = _array(owner, y)
    if array.ndim == 2 and array.shape[1] == 1 and not columns:
        _warn_of_column()
        array = array[:, 0]
    if array.ndim != 1 and not (columns and array.ndim == 2 and array.shape[1]):
        shape = "(n,) or (n, targets)" if columns else "(n,); y should be a 1d array"
        raise InputError(f"{owner}: y has shape {array.shape}; expected {shape}")
    if len(array) != count:
        raise InputError(
            f"{owner}: y has {len(array)} entries and X {count} sequences; expected one for each"
        )
    return array


def one_a_step(owner: str, y: Any, lengths: NDArray[np.int64], columns: bool) -> Array:
    """Return y for every step, flat: (tokens,), or (tokens, K) where columns are allowed.

    Raises
    ------
    InputError
        If a sequence's targets are not as many as its steps, or of another shape than the others'.
    """
    _not_none(owner, y)
    rows = list(y) if not isinstance(y, np.ndarray) else y
    if np.ndim(y) == 0 if isinstance(y, np.ndarray) else not isinstance(y, list | tuple):
        rows = list(np.asarray(y))  # a frame, or what else turns into an array
    if len(rows) != len(lengths):
        raise InputError(
            f"{owner}: y has {len(rows)} entries and X {len(lengths)} sequences; expected one "
            "for each"
        )
    ranks = (1, 2) if columns else (1,)
    found = []
    for k, (one, length) in enumerate(zip(rows, lengths, strict=True)):
        array = np.asarray(one)
        if array.ndim not in ranks or len(array) != length:
            tail = " or (steps, columns)" if columns else ""
            raise InputError(
                f"{owner}: y[{k}] has shape {array.shape}; expected one for each of the {length} "
                f"steps of X[{k}]: (steps,){tail}"
            )
        if found and array.shape[1:] != found[0].shape[1:]:
            raise InputError(
                f"{owner}: y[{k}] has shape {array.shape} and y[0] {found[0].shape}; expected the "
                "same columns in all"
            )
        found.append(array)
    return np.concatenate(found)


def labels(owner: str, array: Array) -> Array:
    """Return labels: booleans, whole numbers or text, or say why they are none."""
    kind = array.dtype.kind
    if kind == "c":
        raise InputError(f"{owner}: Complex data not supported: y has dtype {array.dtype}")
    if kind == "f":
        wrong = np.flatnonzero(~(array == np.floor(array)))
        if wrong.size:
            value = array[wrong[0]]
            what = "is missing" if np.isnan(value) else "is continuous"
            raise InputError(
                f"{owner}: Unknown label type: y[{wrong[0]}] is {value}, which {what}; expected "
                "classes (for values take SequenceRegressor)"
            )
        if np.isinf(array).any():
            raise InputError(f"{owner}: y[{int(np.argmax(np.isinf(array)))}] is infinite")
    elif kind == "O":
        for k, value in enumerate(array):
            if not isinstance(value, str | int | np.integer | np.bool_) and not (
                isinstance(value, float | np.floating) and float(value).is_integer()
            ):
                raise InputError(
                    f"{owner}: Unknown label type: y[{k}] is {shown(repr(value), 60)}; expected "
                    "text or whole numbers"
                )
        if len({isinstance(value, str) for value in array}) > 1:
            raise InputError(
                f"{owner}: Unknown label type: y mixes text and numbers; expected one of the two"
            )
    elif kind not in "biuU":
        raise InputError(
            f"{owner}: Unknown label type: y has dtype {array.dtype}; expected text or numbers"
        )
    return array


def at_least_two(owner: str, classes: Array) -> Array:
    """Return the classes, or say that one alone cannot be told from another."""
    if len(classes) < 2:
        raise InputError(
            f"{owner}: y has 1 class, {shown(repr(classes[0].item() if classes.dtype != object else classes[0]), 60)}; expected at least 2 classes to tell "
            "apart (take more data)"
        )
    return classes


def encode(owner: str, array: Array, classes: Array) -> NDArray[np.int64]:
    """Return the number of each label among the classes, which are sorted.

    Raises
    ------
    InputError
        If a label is none of them.
    """
    try:
        places = np.searchsorted(classes, array)
        right = classes[np.minimum(places, len(classes) - 1)] == array
    except TypeError:
        right = np.zeros(len(array), bool)
    if not np.all(right):
        where = int(np.argmin(right))
        raise InputError(
            f"{owner}: y[{where}] is {shown(repr(array[where]), 60)}; expected one of the classes "
            f"{shown(', '.join(map(str, classes)), 100)}"
        )
    return places.astype(np.int64)


def values(owner: str, array: Array) -> Array:
    """Return numbers as float64, all finite, or say which is not."""
    if array.dtype.kind == "c":
        raise InputError(f"{owner}: Complex data not supported: y has dtype {array.dtype}")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(f"{owner}: y holds text; expected numbers") from None
    array = real_array(owner, "y", array, array.shape, np.float64)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = tuple(int(k) for k in wrong[0])
        column = f", column {place[1]}" if len(place) > 1 else ""
        raise InputError(
            f"{owner}: y is {array[place]} in row {place[0]}{column}; expected finite numbers "
            "(leave the sequence out)"
        )
    return array


def weights_of(owner: str, given: Any, classes: Array, encoded: Array) -> Array | None:
    """Return a weight for each class, their mean over the data 1; None where all are equal.

    ``"balanced"`` is scikit-learn's n / (classes · count of the class); a dict may leave classes
    out, which then weigh 1.

    Raises
    ------
    InputError
        If it is something else, names a class that is none, or a weight is negative.
    """
    if given is None:
        return None
    counts = np.bincount(encoded, minlength=len(classes)).astype(np.float64)
    if isinstance(given, str) and given == "balanced":
        weights = counts.sum() / (len(classes) * np.maximum(counts, 1))
    elif isinstance(given, dict):
        weights = np.ones(len(classes))
        places = {label: k for k, label in enumerate(classes.tolist())}
        for label, weight in given.items():
            if label not in places:
                raise InputError(
                    f"{owner}: class_weight has the class {shown(repr(label), 60)}; expected "
                    f"those of y: {shown(', '.join(map(str, classes)), 100)}"
                )
            weights[places[label]] = real_weight(owner, label, weight)
    else:
        raise InputError(
            f'{owner}: class_weight is {shown(repr(given), 60)}; expected None, "balanced" or a '
            "dict of weights by class"
        )
    total = float(counts @ weights)
    if not total > 0:
        raise InputError(
            f"{owner}: class_weight gives every class in y the weight 0; expected one above 0"
        )
    return weights * (counts.sum() / total)


def real_weight(owner: str, label: Any, weight: Any) -> float:
    """Return a weight, 0 or more."""
    try:
        number = float(weight)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 <= number < np.inf:
        raise InputError(
            f"{owner}: class_weight of {shown(repr(label), 60)} is {shown(repr(weight), 60)}; "
            "expected a number of at least 0"
        )
    return number


def _array(owner: str, y: Any) -> Array:
    _not_none(owner, y)
    if isinstance(y, str | bytes) or np.isscalar(y):
        raise InputError(f"{owner}: y is {shown(repr(y), 60)}; expected one for each sequence")
    try:
        array = np.asarray(y)
    except ValueError:
        raise InputError(f"{owner}: y is a ragged nested list; expected (n,)") from None
    return array


def _not_none(owner: str, y: Any) -> None:
    if y is None:
        raise InputError(
            f"{owner}: it requires y to be passed, but the target y is None; expected one for "
            "each sequence of X"
        )


def _warn_of_column() -> None:
    """Warn as scikit-learn does, in its words, and in its kind where it is loaded."""
    kind: type[Warning] = UserWarning
    exceptions = sys.modules.get("sklearn.exceptions")
    if exceptions is not None:
        kind = exceptions.DataConversionWarning
    warnings.warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y "
        "to (n_samples, ), for example using ravel().",
        kind,
        stacklevel=5,
    )
