"""What a learner's functions give, read into plain arrays, and whether it equals something."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lstmkit.lesson.child import Other
from lstmkit.lesson.mutants import Mistake
from lstmkit.shapes import Array

KINDS = (
    ("flat", "flat"),
    ("column", "column"),
    ("flat", "column"),
    ("row", "row"),
    ("row", "flat"),
    ("column", "flat"),
)
"""How states and biases may be written: flat (n,), column (n, 1), row (1, n)."""


def vector(array: Array, kind: str) -> Array:
    """Write a flat vector as it is asked for."""
    return {"flat": array, "column": array[:, None], "row": array[None]}[kind]


def tolerance(*arrays: Array) -> float:
    """Float32 has seven digits, float64 sixteen; several steps lose a few."""
    small = any(array.dtype.kind == "f" and array.dtype.itemsize < 8 for array in arrays)
    return 2e-4 if small else 1e-8


def close(got: Array, want: Array) -> bool:
    """Whether two arrays of one size hold the same numbers, to rounding."""
    if got.size != want.size or got.dtype.kind not in "buif":
        return False
    difference = np.abs(got.reshape(want.shape) - want)
    within = difference <= tolerance(got) * (1 + np.abs(want))
    return bool(within.all())


def right_in(got: Array, want: Array) -> int:
    """Count the numbers of an array that are right."""
    if got.shape != want.shape or got.dtype.kind not in "buif":
        return 0
    return int((np.abs(got - want) <= tolerance(got) * (1 + np.abs(want))).sum())


def number(value: float) -> str:
    """Write a number the way a sentence shows it."""
    if not np.isfinite(value):
        return str(value)
    text = f"{value:.3f}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.3g}"
    return text.replace("-", "−")


def far(got: float, want: float) -> str:
    """Write two different numbers with as many digits as tell them apart."""
    mine, right = number(got), number(want)
    if mine == right and got != want:
        mine, right = (f"{value:.9g}".replace("-", "−") for value in (got, want))
    return f"yours {mine}, expected {right}"


def worst(got: Array, want: Array) -> tuple[int, ...] | None:
    """Find where two arrays differ most; where one of them is no number counts first."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.reshape(want.shape) - want)
    difference = np.where(np.isfinite(difference), difference, np.inf)
    if not difference.size or difference.max() == 0:
        return None
    return tuple(int(k) for k in np.unravel_index(int(difference.argmax()), want.shape))


def what(value: Any) -> str:
    """Say what came, in a few words."""
    if value is None:
        return "nothing (is a return missing?)"
    if isinstance(value, Other):
        return value.what
    if isinstance(value, np.ndarray):
        kind = "complex " if value.dtype.kind == "c" else ""
        article = "a complex" if kind else "an"
        return f"{article} array of shape {value.shape}" if value.ndim else f"a {kind}number"
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        inner = ", ".join(what(entry) for entry in value[:3]) + (", ..." if len(value) > 3 else "")
        return f"a {kind} of {len(value)} ({inner})"
    if isinstance(value, dict):
        return f"a dict with the keys {', '.join(map(str, list(value)[:8]))}"
    name = type(value).__name__
    return f"a{'n' if name[0] in 'aeiouAEIOU' else ''} {name}"


def pair(value: Any) -> tuple[Array, Array] | None:
    """Read (h, c) from what a step returned; what comes after them is left alone."""
    found = _pair(value)
    if found is None or any(array.dtype.kind not in "buif" for array in found):
        return None
    h, c = (array if array.dtype.kind == "f" else array.astype(np.float64) for array in found)
    return h, c


def _pair(value: Any) -> tuple[Array, Array] | None:
    if isinstance(value, dict):
        names = {str(key).lower().replace("_", ""): entry for key, entry in value.items()}
        h = next((names[k] for k in ("h", "ht", "hnext", "hnew", "anext") if k in names), None)
        c = next((names[k] for k in ("c", "ct", "cnext", "cnew") if k in names), None)
        value = (h, c)
    if isinstance(value, tuple | list) and len(value) == 1:
        value = value[0]
    if isinstance(value, tuple | list) and len(value) >= 2:
        if isinstance(value[1], tuple | list) and len(value[1]) == 2:
            inner = value[1]  # (h, (h, c)), as layers return it
            if isinstance(inner[0], np.ndarray) and isinstance(inner[1], np.ndarray):
                return inner[0], inner[1]
        h, c = value[0], value[1]
        if isinstance(h, np.ndarray) and isinstance(c, np.ndarray):
            return h, c
    if isinstance(value, np.ndarray) and value.ndim >= 2 and len(value) == 2:
        return value[0], value[1]
    return None


def gates(value: Any) -> dict[str, Array]:
    """Find gates that a step returns beside h and c, in a dict by their usual names."""
    usual = {"f": "f", "ft": "f", "i": "i", "it": "i", "g": "g", "gt": "g", "o": "o", "ot": "o"}
    usual |= {"cbar": "g", "ctilde": "g", "cct": "g", "chat": "g", "candidate": "g"}
    found: dict[str, Array] = {}
    if isinstance(value, tuple | list):
        for entry in value[1:]:
            if isinstance(entry, dict | tuple | list):
                found |= gates([None, entry] if not isinstance(entry, dict) else entry)
    if isinstance(value, dict):
        for key, entry in value.items():
            name = usual.get(str(key).lower().replace("_", "").replace("gate", ""))
            if name and isinstance(entry, np.ndarray):
                found.setdefault(name, entry)
    return found


@dataclass(frozen=True)
class States:
    """What a sequence function returned: h (n, H), c (n, H) or None, the last c or None."""

    h: Array
    c: Array | None = None
    c_last: Array | None = None


def states(value: Any, size: int, steps: int) -> States | None:
    """Read the states from whatever a sequence function returned."""
    if isinstance(value, dict):
        names = {str(key).lower().replace("_", ""): entry for key, entry in value.items()}
        h = next(
            (names[k] for k in ("h", "hs", "hstates", "hidden", "outputs") if k in names), None
        )
        c = next((names[k] for k in ("c", "cs", "cstates", "cells") if k in names), None)
        value = (h, c)
    found = list(_readings(value, size))
    right = [reading for reading in found if len(reading.h) == steps]
    return next(iter(right or found), None)


def _readings(value: Any, size: int) -> Iterator[States]:
    """Give every way to read a result, the usual first."""
    rows = _rows(value, size)
    if rows is not None and not (isinstance(value, tuple) and len(value) == 2):
        yield States(rows)
    pairs = _pairs(value, size)
    if pairs is not None:
        yield pairs
    if isinstance(value, tuple | list) and value:
        if (inner := _pairs(value[0], size)) is not None:
            yield inner
        h_rows = _rows(value[0], size)
        if h_rows is None:
            return
        rest = list(value[1:])
        if len(rest) == 1 and isinstance(rest[0], tuple | list) and len(rest[0]) == 2:
            rest = list(rest[0])  # (hs, (h_T, c_T))
        c_rows = [_rows(entry, size) for entry in rest[:2]]
        for entry in c_rows[:1]:
            several = entry is not None and (len(entry) > 1 or len(rest) == 1)
            if entry is not None and several and len(entry) == len(h_rows):
                yield States(h_rows, entry)
        if len(rest) >= 2 and c_rows[1] is not None and len(c_rows[1]) == 1:
            yield States(h_rows, None, c_rows[1][0])
        yield States(h_rows)


def _rows(value: Any, size: int) -> Array | None:
    """Read an array, or a list of vectors, as (n, H)."""
    if isinstance(value, tuple | list):
        if not value or not all(isinstance(entry, np.ndarray) for entry in value):
            return None
        if any(entry.size != size or entry.dtype.kind not in "buif" for entry in value):
            return None
        return np.stack([entry.reshape(-1) for entry in value])
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "buif":
        return None
    axes = [axis for axis in value.shape if axis != 1] or [1]
    flat = value.reshape(axes)
    if axes == [size]:
        return flat[None]
    if len(axes) == 2 and axes[1] == size:
        return flat
    if len(axes) == 2 and axes[0] == size:
        return flat.T
    return None


def _pairs(value: Any, size: int) -> States | None:
    if not isinstance(value, tuple | list) or not value:
        return None
    read = [pair(entry) if isinstance(entry, tuple | list | dict) else None for entry in value]
    found = [entry for entry in read if entry is not None]
    if len(found) != len(value) or any(a.size != size for entry in found for a in entry):
        return None
    hs, cs = ([entry[k].reshape(-1) for entry in found] for k in range(2))
    return States(np.stack(hs), np.stack(cs))


def same_states(got: States, want: Sequence[tuple[Array, Array]]) -> bool:
    """Whether the states equal those of a reference."""
    if len(got.h) != len(want):
        return False
    h, c = (np.stack([entry[k] for entry in want]) for k in range(2))
    if not close(got.h, h):
        return False
    if got.c is not None and not close(got.c, c):
        return False
    return got.c_last is None or close(got.c_last, c[-1])


def changes(mistake: Mistake, base: Mapping[str, str]) -> dict[str, str]:
    """Put a mistake's switches over a base."""
    return {**base, **mistake.switches}
