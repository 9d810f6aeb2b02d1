"""The one voice for shape, dtype and value errors.

Every message is one line and has the same four parts: who speaks, which argument, the rule, and
what came::

    lstm: x has shape (5, 7); expected (batch, time, input_size=3)

An axis is written as a name (``"batch"``: any size), as a pair (``("input_size", 3)``: that size)
or as a bare number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[Any]
Axis = str | int | tuple[str, int]


class InputError(ValueError):
    """What the caller gave cannot be used; the message is one line that says why and what to do."""


def shown(value: object, most: int = 200) -> str:
    r"""Write what somebody else said, or what a file holds, so that it fits into an error's line.

    >>> shown("a name\nof two lines")
    'a name�of two lines'
    """
    text = str(value)
    text = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def describe(axes: Sequence[Axis]) -> str:
    """Write axes the way error messages show them.

    >>> describe(("batch", "time", ("input_size", 3)))
    '(batch, time, input_size=3)'
    """
    words = [f"{axis[0]}={axis[1]}" if isinstance(axis, tuple) else str(axis) for axis in axes]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def fits(shape: Sequence[int], axes: Sequence[Axis]) -> bool:
    """Whether a shape has the rank and the fixed sizes that the axes ask for."""
    sizes = [axis[1] if isinstance(axis, tuple) else axis for axis in axes]
    return len(shape) == len(sizes) and all(
        isinstance(want, str) or got == want for got, want in zip(shape, sizes, strict=True)
    )


def check_shape(owner: str, name: str, array: Array, axes: Sequence[Axis]) -> None:
    """Raise `InputError` unless the array has the shape that the axes describe."""
    if not fits(array.shape, axes):
        raise InputError(f"{owner}: {name} has shape {array.shape}; expected {describe(axes)}")


def any_array(owner: str, name: str, value: Any, axes: Sequence[Axis]) -> Array:
    """Turn a value into an array of whatever shape and dtype; a ragged list is refused."""
    try:
        return np.asarray(value)
    except ValueError:
        raise InputError(
            f"{owner}: {name} is a ragged nested list; expected an array {describe(axes)}"
        ) from None


def real_array(
    owner: str, name: str, value: ArrayLike, axes: Sequence[Axis], dtype: DTypeLike | None = None
) -> Array:
    """Turn numbers into an array of the given shape and dtype, or say why that cannot be.

    Parameters
    ----------
    owner, name
        Who speaks and which argument it is; both appear in the message.
    value
        Booleans, integers or floats, nested lists or an array.
    axes
        The expected shape, see the module's docstring.
    dtype
        The floating dtype of the result; by default the value's own, float64 for integers.

    Raises
    ------
    InputError
        If the value is ragged, not numeric (text, objects, complex) or of another shape.
    """
    array = any_array(owner, name, value, axes)
    if array.dtype.kind not in "buif":
        raise InputError(
            f"{owner}: {name} has dtype {array.dtype}; expected real numbers {describe(axes)}"
        )
    check_shape(owner, name, array, axes)
    if dtype is None:
        dtype = array.dtype if array.dtype.kind == "f" else np.float64
    return array.astype(dtype, copy=False)


def integer_array(
    owner: str,
    name: str,
    value: ArrayLike,
    axes: Sequence[Axis],
    low: int | None = None,
    high: int | None = None,
) -> NDArray[np.int64]:
    """Turn whole numbers in ``low <= value <= high`` into an int64 array of the given shape.

    Raises
    ------
    InputError
        If the dtype is not an integer one, the shape differs or a value is out of bounds; the
        message gives the first such value and where it stands.
    """
    array = any_array(owner, name, value, axes)
    if array.dtype.kind not in "ui" and array.size:
        raise InputError(f"{owner}: {name} has dtype {array.dtype}; expected integers")
    check_shape(owner, name, array, axes)
    below = low is not None and array.size and array.min() < low
    if below or (high is not None and array.size and array.max() > high):
        wrong = np.zeros(array.shape, bool)
        if low is not None:
            wrong |= array < low
        if high is not None:
            wrong |= array > high
        where = tuple(int(k) for k in np.argwhere(wrong)[0])
        bounds = f"at least {low}" if high is None else f"{low} to {high}"
        place = f"{name}[{', '.join(map(str, where))}]" if where else name
        raise InputError(f"{owner}: {place} is {array[where]}; expected {bounds}")
    return array.astype(np.int64, copy=False)


def boolean_array(
    owner: str, name: str, value: ArrayLike, axes: Sequence[Axis]
) -> NDArray[np.bool_]:
    """Return a boolean array of the given shape; integers and floats are refused, not guessed."""
    array = any_array(owner, name, value, axes)
    if array.dtype.kind != "b":
        raise InputError(f"{owner}: {name} has dtype {array.dtype}; expected booleans")
    check_shape(owner, name, array, axes)
    return array


def positive_integer(owner: str, name: str, value: Any, least: int = 1) -> int:
    """Return a whole number of at least ``least``; bools and floats are refused."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise InputError(f"{owner}: {name} is {value!r}; expected a whole number")
    if value < least:
        raise InputError(f"{owner}: {name} is {value}; expected at least {least}")
    return int(value)


def real_number(
    owner: str,
    name: str,
    value: Any,
    low: float = -math.inf,
    high: float = math.inf,
    open_ends: str = "",
) -> float:
    """Return a finite number between low and high, both allowed.

    ``open_ends`` names the ends that are not allowed: ``"low"``, ``"high"`` or ``"low high"``.
    """
    if isinstance(value, bool | np.bool_) or not isinstance(
        value, int | float | np.integer | np.floating
    ):
        raise InputError(f"{owner}: {name} is {value!r}; expected a number")
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    below = number <= low if "low" in open_ends else number < low
    above = number >= high if "high" in open_ends else number > high
    if not math.isfinite(number) or below or above:
        left = "above" if "low" in open_ends else "at least"
        right = "below" if "high" in open_ends else "at most"
        rules = [f"{left} {low:g}"] if low > -math.inf else []
        rules += [f"{right} {high:g}"] if high < math.inf else []
        raise InputError(
            f"{owner}: {name} is {value}; expected {' and '.join(rules) or 'a finite number'}"
        )
    return number


def generator(owner: str, seed: Any) -> np.random.Generator:
    """Return a generator as it is, or a new one from a whole number or None (of the system)."""
    if isinstance(seed, np.random.Generator):
        return seed
    if seed is not None:
        seed = positive_integer(owner, "seed", seed, least=0)
    return np.random.default_rng(seed)


def one_of(owner: str, name: str, value: Any, choices: Sequence[Any]) -> Any:
    """Return the value if it is one of the choices, else list them."""
    if value not in choices:
        raise InputError(
            f"{owner}: {name} is {value!r}; expected one of {', '.join(map(repr, choices))}"
        )
    return value


def floating_dtype(owner: str, dtype: DTypeLike) -> np.dtype[Any]:
    """Return float32 or float64 as a dtype; anything else is refused."""
    try:
        name = np.dtype(dtype).name
    except TypeError:
        name = str(dtype)
    one_of(owner, "dtype", name, ("float32", "float64"))
    return np.dtype(name)
