"""What an ONNX file of ours says of its model: an entry ``"lstmkit"`` in the file's metadata.

The graph alone does not say all: a normalized cell is many small operators there, and dropout,
which does nothing in use, is left out. The entry is a JSON object with its ``format`` (1), the
model's ``kind`` and ``config``, and for each of its parameters which of the graph's own arrays
holds it and how: no weight is in the file twice.

It is what a file says, no more. What is made of it here has arrays of the right shapes, each used
once; whether the graph computes the same is for `lstmkit.formats.onnx.ours` to see.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from lstmkit import store
from lstmkit.formats.base import Model
from lstmkit.formats.onnx.node import COUPLED_GATES, COUPLED_PEEPHOLES, GATES, PEEPHOLES
from lstmkit.layers import LSTM, Sequential
from lstmkit.shapes import Array, InputError, shown

KEY = "lstmkit"
FORMAT = 1
SPARE = 2**17  # bytes that an entry may have beside half of the file

BLOCKS: dict[str, tuple[int, tuple[int, ...]]] = {
    "gates": (4, GATES),
    "coupled_gates": (4, COUPLED_GATES),
    "bias": (8, GATES),  # of two halves the first
    "coupled_bias": (8, COUPLED_GATES),
    "peepholes": (3, PEEPHOLES),
    "coupled_peepholes": (3, COUPLED_PEEPHOLES),
}
"""How an LSTM node's inputs hold a direction: in so many blocks of rows, ours at these places.

Besides there are ``"same"``, ``"turned"`` (the transpose) and ``"row"`` ``(D, 1, size)``.
"""


class Place(NamedTuple):
    """Where a parameter is: the array's name, how it lies there, and the direction (or 0)."""

    array: str
    layout: str
    direction: int = 0


def text(
    kind: str,
    config: Mapping[str, Any],
    places: Mapping[str, Place],
    absent: Mapping[str, Array],
) -> str:
    """Return the entry; ``absent`` are parameters that the graph does not need, held in full."""
    entry = {
        "format": FORMAT,
        "kind": kind,
        "config": config,
        "parameters": {name: list(place) for name, place in places.items()},
        "absent": {
            name: array.astype(array.dtype.newbyteorder("<")).tobytes().hex()
            for name, array in absent.items()
        },
    }
    return json.dumps(entry, sort_keys=True, allow_nan=False, separators=(",", ":"))


def model(entry: memoryview, size: int, constants: Mapping[str, Array]) -> Model:
    """Make the model that an entry describes, of the arrays of a graph; these are copied.

    Parameters
    ----------
    entry : memoryview
        The JSON text's bytes.
    size : int
        Bytes of the file.
    constants : mapping of str to array
        The graph's own arrays.

    Raises
    ------
    InputError
        If the entry is not one of format 1, or does not fit the arrays.
    """
    if len(entry) > size // 2 + SPARE:  # a text can become four times as much in memory
        raise InputError(f"it takes {len(entry)} bytes of {size}, more than one needs")
    data = bytes(entry)
    if store.heavy(data, size):
        raise InputError("it has more parts than one needs")
    try:
        said = store.json_object(data)
    except ValueError as error:
        raise InputError(f"it is {error}") from None
    if type(said.get("format")) is not int or said["format"] != FORMAT:
        raise InputError(
            f"its format is {shown(said.get('format'), 40)}; this lstmkit reads format {FORMAT}"
        )
    if set(said) != {"format", "kind", "config", "parameters", "absent"}:
        raise InputError("it is not that of format 1")
    kind, config = said["kind"], said["config"]
    if kind not in ("LSTM", "Sequential"):
        raise InputError(f"its kind is {shown(kind, 40)}; expected 'LSTM' or 'Sequential'")
    if not all(isinstance(said[name], dict) for name in ("config", "parameters", "absent")):
        raise InputError("its config, parameters and absent are not three objects")
    if config.get("dtype") not in ("float32", "float64"):
        raise InputError("its config has no dtype float32 or float64")
    dtype = np.dtype(config["dtype"])
    arrays = _arrays(said["parameters"], constants, dtype)
    arrays |= {name: _absent(name, held, dtype) for name, held in said["absent"].items()}
    try:
        made: Model = (LSTM if kind == "LSTM" else Sequential).from_parameters(config, arrays)
    except InputError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError):
        raise InputError("its config cannot be used") from None
    return made


def _arrays(
    places: Mapping[str, Any], constants: Mapping[str, Array], dtype: np.dtype[Any]
) -> dict[str, Array]:
    """Find the parameters; each place is used once, so that a small file stays a small model."""
    found: dict[str, Array] = {}
    used: set[tuple[str, int]] = set()
    for name, value in places.items():
        kinds = [type(part) for part in value] if isinstance(value, list) else []
        if kinds != [str, str, int]:
            raise InputError(f"it says no array, layout and direction of {name!r:.60}")
        place = Place(*value)
        array = constants.get(place.array)
        if array is None:
            raise InputError(
                f"{name!r:.60} is said to be in {place.array!r:.60}, which the graph has not"
            )
        if array.dtype != dtype:
            raise InputError(f"{place.array!r:.60} is {array.dtype} and the model {dtype}")
        if (place.array, place.direction) in used:
            raise InputError(f"{name!r:.60} is said to be where another parameter is")
        used.add((place.array, place.direction))
        part = _part(array, place)
        if part is None:
            raise InputError(f"{name!r:.60} cannot lie in {place.array!r:.60} as is said")
        found[name] = part
    return found


def _part(array: Array, place: Place) -> Array | None:
    """Return a parameter from the array in which it lies; None if it does not fit."""
    _, layout, d = place
    if layout in ("same", "turned"):
        return None if d else (array.T if layout == "turned" else array)
    if not 0 <= d < (len(array) if array.ndim > 1 else 0):
        return None
    row: Array = array[d]
    if layout == "row":
        return row[0] if row.ndim == 2 and len(row) == 1 else None
    if layout not in BLOCKS or len(row) % BLOCKS[layout][0]:
        return None
    count, places = BLOCKS[layout]
    size = len(row) // count
    blocks: Array = row.reshape(count, size, *row.shape[1:])[list(places)]
    if layout.endswith("peepholes"):
        return blocks
    return blocks.reshape(len(places) * size, *row.shape[1:])


def _absent(name: str, held: Any, dtype: np.dtype[Any]) -> Array:
    """Return a parameter that the entry itself holds: the bytes of a row of numbers."""
    try:
        return np.frombuffer(bytes.fromhex(held), dtype.newbyteorder("<")).astype(dtype)
    except (TypeError, ValueError):
        raise InputError(f"the numbers of {name!r:.60} are damaged") from None
