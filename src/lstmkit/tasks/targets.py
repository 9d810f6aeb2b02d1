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

from lstmkit import losses
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
        if array.ndim == 2 and not columns:
            shape += " (of rows of 0 and 1 give y.argmax(axis=1))"
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
    _not_one(owner, y)
    rows = y
    if not isinstance(y, list | tuple):
        rows = np.asarray(y)  # a frame, or what else turns into an array
        if not rows.ndim:
            raise _no_array(owner, y)
    if len(rows) != len(lengths):
        raise InputError(
            f"{owner}: y has {len(rows)} entries and X {len(lengths)} sequences; expected one "
            "for each"
        )
    ranks = (1, 2) if columns else (1,)
    found: list[Array] = []
    for k, (one, length) in enumerate(zip(rows, lengths, strict=True)):
        array = _as_array(owner, one, f"y[{k}]")
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


def _named(k: Any, lengths: NDArray[np.int64] | None) -> str:
    """Say which target it is: of flat steps' the sequence and the step."""
    if lengths is None:
        return f"y[{int(k)}]"
    ends = np.cumsum(lengths)
    sequence = int(np.searchsorted(ends, k, side="right"))
    return f"y[{sequence}][{int(k) - int(ends[sequence] - lengths[sequence])}]"


def labels(owner: str, array: Array, lengths: NDArray[np.int64] | None = None) -> Array:
    """Return labels: booleans, whole numbers or text, or say why they are none.

    ``lengths`` are those of the sequences, where there is a label for each step.
    """
    kind = array.dtype.kind
    if kind == "c":
        raise InputError(f"{owner}: Complex data not supported: y has dtype {array.dtype}")
    if kind == "f":
        wrong = np.flatnonzero(~(array == np.floor(array)))
        if wrong.size:
            value = array[wrong[0]]
            what = "is missing" if np.isnan(value) else "is continuous"
            raise InputError(
                f"{owner}: Unknown label type: {_named(wrong[0], lengths)} is {value}, which "
                f"{what}; expected classes ({_remedy(value, lengths)})"
            )
        if np.isinf(array).any():
            raise InputError(
                f"{owner}: {_named(np.argmax(np.isinf(array)), lengths)} is infinite; expected "
                "classes (leave the sequence out)"
            )
    elif kind == "O":
        for k, value in enumerate(array):
            if not isinstance(value, str | int | np.integer | np.bool_) and not (
                isinstance(value, float | np.floating) and float(value).is_integer()
            ):
                raise InputError(
                    f"{owner}: Unknown label type: {_named(k, lengths)} is "
                    f"{shown(repr(value), 60)}; expected text or whole numbers "
                    "(leave the sequence out)"
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


def _remedy(value: Any, lengths: NDArray[np.int64] | None) -> str:
    if np.isnan(value):
        return "leave the sequence out"
    what = "SequenceRegressor" if lengths is None else 'task="value"'
    return f"for values take {what}"


def classes_in(owner: str, known: Array) -> Array:
    """Return the classes, sorted, or say that one alone cannot be told from another."""
    classes = np.unique(known)
    if classes.dtype.kind == "U":  # no wider than the longest
        classes = np.array(classes.tolist())
    if len(classes) < 2:
        raise InputError(
            f"{owner}: y has 1 class, {shown(repr(classes.tolist()[0]), 60)}; expected at least 2 "
            "classes to tell apart (take more data)"
        )
    return classes


def encode(
    owner: str, array: Array, classes: Array, lengths: NDArray[np.int64] | None = None
) -> NDArray[np.int64]:
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
            f"{owner}: {_named(where, lengths)} is {shown(repr(array.tolist()[where]), 60)}; "
            f"expected one of the classes {shown(', '.join(map(str, classes)), 100)}"
        )
    return places.astype(np.int64)


def values(owner: str, array: Array, lengths: NDArray[np.int64] | None = None) -> Array:
    """Return numbers as float64, all finite, or say which is not; ``lengths`` as for `labels`."""
    if array.dtype.kind == "c":
        raise InputError(f"{owner}: Complex data not supported: y has dtype {array.dtype}")
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise InputError(
                f"{owner}: y holds text, or what else is no number; expected numbers (for classes "
                f"take {_classes(lengths)})"
            ) from None
    if array.dtype.kind in "US" and array.size:
        raise InputError(
            f"{owner}: y holds text, such as {shown(repr(array.flat[0].item()), 60)}; expected "
            f"numbers (for classes take {_classes(lengths)})"
        )
    array = real_array(owner, "y", array, array.shape, np.float64)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        place = tuple(int(k) for k in wrong[0])
        column = f", column {place[1]}" if len(place) > 1 else ""
        value = array[place]
        where = f"y is {value} in row {place[0]}{column}"
        if lengths is not None:
            where = f"{_named(place[0], lengths)}{column} is {value}"
        raise InputError(f"{owner}: {where}; expected finite numbers (leave the sequence out)")
    return array


def on_or_off(owner: str, array: Array, lengths: NDArray[np.int64]) -> None:
    """Raise unless values (tokens, K) are all 0 or 1."""
    wrong = np.argwhere((array != 0) & (array != 1))
    if len(wrong):
        row, column = (int(k) for k in wrong[0])
        raise InputError(
            f"{owner}: {_named(row, lengths)}, column {column} is {array[row, column]:g}; "
            'expected 0 or 1 with task="labels"'
        )


def _classes(lengths: NDArray[np.int64] | None) -> str:
    return "SequenceClassifier" if lengths is None else 'task="label"'


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
    weights = np.asarray(weights * (counts.sum() / total))
    return weights


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
    _not_one(owner, y)
    array = _as_array(owner, y, "y")
    if not array.ndim:
        raise _no_array(owner, y)
    return array


def _as_array(owner: str, y: Any, name: str) -> Array:
    """Return an array with nothing lost: neither a mask, nor that a list mixes text and numbers."""
    try:
        array = np.asarray(y)
    except ValueError:
        raise InputError(
            f"{owner}: {name} is a ragged nested list; expected one target for each"
        ) from None
    if isinstance(y, np.ma.MaskedArray) and np.ma.getmaskarray(y).any():
        place = np.argwhere(np.ma.getmaskarray(y))[0]
        raise InputError(
            f"{owner}: {name}[{', '.join(map(str, place))}] is masked; expected one target for "
            "each (leave the sequence out)"
        )
    if array.dtype.kind == "U" and isinstance(y, list | tuple) and array.ndim == 1:
        for k, one in enumerate(y):
            if not isinstance(one, str):  # NumPy has made text of it
                raise InputError(
                    f"{owner}: Unknown label type: {name}[{k}] is {shown(repr(one), 60)} among "
                    "text; expected text alone, or numbers alone (leave out what is missing)"
                )
    return array


def _not_one(owner: str, y: Any) -> None:
    if isinstance(y, str | bytes) or np.isscalar(y):
        raise InputError(f"{owner}: y is {shown(repr(y), 60)}; expected one for each sequence")


def _no_array(owner: str, y: Any) -> InputError:
    return InputError(
        f"{owner}: y is of type {type(y).__name__}; expected an array or a list, one for each "
        "sequence"
    )


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


# ------------------------------------------------------------------- from logits and back


def softmax(logits: Array) -> Array:
    """Return probabilities of logits (..., K), which sum to 1 in float64."""
    z = logits.astype(np.float64)
    z -= z.max(axis=-1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=-1, keepdims=True)
    return z


def weighted(weights: Array, logits: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean of weighted cross-entropies over the labels that count (-1 does not).

    Divided by the number of labels, not by the sum of their weights: so batches add up to the
    whole, whatever classes are in each.
    """
    value, gradient = losses.cross_entropy(logits, labels, weights=weights)
    counted = labels[labels >= 0]
    share = float(weights[counted].sum()) / max(len(counted), 1)
    gradient *= gradient.dtype.type(share)
    return value * share, gradient


def r_squared(truth: Array, prediction: Array) -> float:
    """Return 1 - the squared error / that of the mean, averaged over columns, as scikit-learn.

    Of a constant column it is 1 where the prediction is right and 0 where it is not.
    """
    truth, prediction = (a.reshape(len(a), -1) for a in (truth, prediction))
    errors = np.square(truth - prediction).sum(axis=0)
    spread = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    plain = np.where(errors == 0, 1.0, 0.0)
    return float(np.where(spread > 0, 1 - errors / np.where(spread > 0, spread, 1), plain).mean())


def classes_config(classes: NDArray[Any]) -> dict[str, Any]:
    """Return classes as JSON values."""
    return {"classes": classes.tolist(), "classes_dtype": _kind(classes)}


def classes_of(owner: str, learned: dict[str, Any]) -> NDArray[Any]:
    """Undo `classes_config`, with nothing believed.

    Raises
    ------
    InputError
        If they are no sorted classes of that dtype.
    """
    given, name = learned["classes"], learned["classes_dtype"]
    if not isinstance(given, list) or not all(isinstance(one, str | int | float) for one in given):
        raise InputError(f"{owner}: config: classes is no list of labels")
    if not isinstance(name, str) or name not in _KINDS:
        raise InputError(
            f"{owner}: config: classes_dtype is {shown(repr(name), 40)}; expected that of labels"
        )
    longest = max((len(one) for one in given if isinstance(one, str)), default=0)
    if longest * len(given) > 1 << 24:
        raise InputError(f"{owner}: config: classes has labels of {longest} letters")
    if "int" in name:
        kind = np.iinfo(name)
        if not all(isinstance(one, int) and kind.min <= one <= kind.max for one in given):
            raise InputError(f"{owner}: config: classes has one that is no {name}")
    classes = np.array(given, name)
    if classes.tolist() != given or len(classes) < 2 or (classes[1:] <= classes[:-1]).any():
        raise InputError(f"{owner}: config: classes are not two or more in their order")
    return classes


_KINDS = (
    "str object bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
).split()


def _kind(classes: NDArray[Any]) -> str:
    return "str" if classes.dtype.kind == "U" else classes.dtype.name
