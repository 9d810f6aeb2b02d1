"""The fast twin: the same contract as `lstmkit.engine.numpy_twin`, computed by ``native/``.

This file prepares arrays and calls; the arithmetic is in ``native/kernel.cpp`` and
``native/pointwise.hpp``.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lstmkit import _native
from lstmkit.cell import ACTIVATIONS, Cell, Function, name_and_numbers
from lstmkit.engine.base import NO_MASKS, Masks, State, Weights, in_file, last_rows
from lstmkit.shapes import Array

# By the letter of a dtype: NumPy makes its name anew each time that it is asked for.
FORWARD: dict[str, Any] = {"f": _native.Forward_float32, "d": _native.Forward_float64}
BACKWARD: dict[str, Any] = {"f": _native.Backward_float32, "d": _native.Backward_float64}
KINDS = tuple(ACTIVATIONS)
"""In the order of ``Activation`` in native/cell.hpp."""
LINEAR: dict[str, Any] = {
    "f": (_native.linear_float32, _native.linear_backward_float32),
    "d": (_native.linear_float64, _native.linear_backward_float64),
}
KEPT: dict[str, Any] = {"f": _native.Kept_float32, "d": _native.Kept_float64}
STEPS: dict[str, Any] = {"f": _native.Steps_float32, "d": _native.Steps_float64}


class NativeTape(NamedTuple):
    """What the forward pass leaves for the backward pass; the arrays by the names of cell.hpp."""

    arrays: dict[str, Array | None]
    gates: Array
    h: Array
    c: Array
    masks: Masks
    sizes: list[int]
    rows: int


def describe_function(function: Function) -> list[float]:
    """Write an activation as its kind, alpha and beta."""
    name, numbers = name_and_numbers(function)
    return [KINDS.index(name), *numbers, *[0.0] * (2 - len(numbers))]


@lru_cache(maxsize=256)
def describe(cell: Cell) -> list[float]:
    """Write a cell as the numbers that ``make_cell`` in native/module.cpp reads."""
    return [
        cell.input_size,
        cell.hidden_size,
        cell.output_size,
        len(cell.gates),
        bool(cell.proj_size),
        cell.layer_norm,
        cell.cell_clip or 0.0,
        cell.gate_clip or 0.0,
        *cell.zoneout,
        *(number for each in cell.activations for number in describe_function(each)),
        cell.learn_initial_state,
        cell.bfloat16,
    ]


def dense(weights: Weights) -> Weights:
    """Return the weights as C-contiguous arrays; those of a layer are so already."""
    return {name: np.ascontiguousarray(array) for name, array in weights.items()}


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array of memory that is used again, see native/memory.hpp."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < 65536:
        return np.empty(shape, dtype)
    array: Array = np.asarray(_native.Memory(size)).view(dtype).reshape(shape)
    return array


# Packed weights, by the identity of the array weight_hh; an entry goes when that array goes.
_kept: dict[int, tuple[Any, Any]] = {}


def _forget(identity: int, _: Any) -> None:
    _kept.pop(identity, None)


PIECE = 2**18
"""Bytes that are read at once from a matrix that stays in its file."""
UNITS = 64  # as in native/kernel.hpp


def pack_from_file(cell: Cell, weights: Weights) -> Any:
    """Return the weights packed, read in pieces: at no time is a matrix there twice."""
    kept = KEPT[weights["weight_ih"].dtype.char](describe(cell), {})
    hidden = cell.hidden_size
    for which, name in enumerate(("weight_ih", "weight_hh")):
        matrix: Any = weights[name]
        width = max(1, matrix.shape[1] * matrix.dtype.itemsize * len(cell.gates))
        step = max(1, PIECE // width // UNITS) * UNITS
        for first in range(0, hidden, step):
            last = min(first + step, hidden)
            parts = [slice(g * hidden + first, g * hidden + last) for g in range(len(cell.gates))]
            kept.fill(which, first, last - first, matrix.rows(parts))
    if cell.proj_size:
        kept.fill(2, 0, hidden, np.ascontiguousarray(weights["weight_hr"]))
    return kept


def keep(cell: Cell, weights: Weights) -> Any:
    """Return the cell's weights, packed anew only when they have changed."""
    if in_file(weights["weight_ih"]):
        return pack_from_file(cell, weights)
    options, key = describe(cell), weights["weight_hh"]
    ref, kept = _kept.get(id(key), (None, None))
    if ref is None or ref() is not key or not kept.of(options, weights):
        kept = KEPT[key.dtype.char](options, weights)
        _kept[id(key)] = weakref.ref(key, partial(_forget, id(key))), kept
    return kept


def forward(*call: Any, **options: Any) -> tuple[Array, State, NativeTape | None]:
    """Run one cell over packed sequences; see `lstmkit.engine.numpy_twin.forward`."""
    ready, result = _forward(*call, **options)
    _native.run([ready])
    return result()


def forward_all(calls: list[tuple[Any, ...]]) -> list[tuple[Array, State, NativeTape | None]]:
    """Run several forward passes that do not need each other, side by side where it pays."""
    if any(in_file(call[1]["weight_ih"]) for call in calls):
        return [forward(*call) for call in calls]  # or their weights would be there together
    made = [_forward(*call) for call in calls]
    _native.run([ready for ready, _ in made])
    return [result() for _, result in made]


def _forward(
    cell: Cell,
    weights: Weights,
    x: Array,
    state: State,
    sizes: list[int],
    reset: Array | None = None,
    masks: Masks = NO_MASKS,
    keep_tape: bool = True,
) -> tuple[_native.Call, Callable[[], tuple[Array, State, NativeTape | None]]]:
    """Prepare a forward pass: what is to be run, and what returns its results after that."""
    rows, tokens, dtype = len(state[0]), len(x), x.dtype
    hidden, stacked = cell.hidden_size, len(cell.gates) * cell.hidden_size
    h = empty((rows + tokens, cell.output_size), dtype)
    c = empty((rows + tokens if keep_tape else rows, hidden), dtype)
    h[:rows], c[:rows] = state
    arrays: dict[str, Array | None] = {
        "x": np.ascontiguousarray(x),
        "h": h,
        "c": c,
        "reset": None if reset is None else np.ascontiguousarray(reset),
        "recurrent": masks.recurrent,
        "zoneout_c": masks.zoneout_c,
        "zoneout_h": masks.zoneout_h,
    }
    tape = None
    if keep_tape:
        gates = empty((tokens, stacked), dtype)
        arrays |= {"gates": gates, "squashed": empty((tokens, hidden), dtype)}
        if cell.layer_norm:
            arrays |= {name: empty((tokens, stacked), dtype) for name in ("ih_hat", "hh_hat")}
            arrays["c_hat"] = empty((tokens, hidden), dtype)
            for name in ("ih_inverse", "hh_inverse", "c_inverse"):
                arrays[name] = empty((tokens,), dtype)
        if cell.gate_clip:
            arrays["gates_inside"] = empty((tokens, stacked), np.uint8)
        if cell.cell_clip:
            arrays["c_inside"] = empty((tokens, hidden), np.uint8)
        tape = NativeTape(arrays, gates, h, c, masks, sizes, rows)
    kept = None
    if not keep_tape:
        kept = keep(cell, weights)
        weights = {name: array for name, array in weights.items() if not in_file(array)}
    weights = dense(weights)
    ready = FORWARD[dtype.char](describe(cell), weights, arrays, sizes, rows, kept)

    def result() -> tuple[Array, State, NativeTape | None]:
        last = last_rows(rows, sizes)  # a copy, or the last step would hold all others
        return h[rows:], (h[last].copy(), c[last].copy() if keep_tape else c), tape

    return ready, result


def backward(
    cell: Cell, weights: Weights, tape: NativeTape, dy: Array, dstate: State
) -> tuple[Array, State, Weights]:
    """Run the exact gradient; see `lstmkit.engine.numpy_twin.backward`."""
    return backward_all([(cell, weights, tape, dy, dstate)])[0]


def backward_all(calls: list[tuple[Any, ...]]) -> list[tuple[Array, State, Weights]]:
    """Run several backward passes that do not need each other, side by side where it pays."""
    ready: list[_native.Call] = []
    results: list[tuple[Array, State, Weights]] = []
    for cell, weights, tape, dy, dstate in calls:
        dh, dc = dstate[0].copy(), dstate[1].copy()
        dx = empty((len(dy), cell.input_size), dy.dtype)
        flow: dict[str, Any] = {"dy": np.ascontiguousarray(dy), "dh": dh, "dc": dc, "dx": dx}
        grads = {name: empty(shape, dy.dtype) for name, shape in cell.shapes().items()}
        ready.append(
            BACKWARD[dy.dtype.char](
                describe(cell), dense(weights), tape.arrays, tape.sizes, tape.rows, flow, grads
            )
        )
        results.append((dx, (dh, dc), grads))
    _native.run(ready)
    return results


def linear(weights: Weights, x: Array) -> Array:
    """Compute x Wᵀ + b for x (n, in); see `lstmkit.engine.numpy_twin.linear`."""
    weights = dense(weights)
    outputs, inputs = weights["weight"].shape
    y = empty((len(x), outputs), x.dtype)
    run = LINEAR[x.dtype.char][0]
    x = np.ascontiguousarray(x)
    run(len(x), inputs, outputs, x, weights["weight"], weights.get("bias"), y)
    return y


def linear_step(weights: Weights, rows: int) -> Callable[[Array], Array]:
    """Return `linear` for x of so many rows; see `lstmkit.engine.linear_step`."""
    weights = dense(weights)
    weight, bias = weights["weight"], weights.get("bias")
    outputs, inputs = weight.shape
    run, dtype, shape = LINEAR[weight.dtype.char][0], weight.dtype, (rows, outputs)

    def step(x: Array) -> Array:
        y = np.empty(shape, dtype)
        run(rows, inputs, outputs, x, weight, bias, y)
        return y

    return step


def linear_backward(weights: Weights, x: Array, dy: Array) -> tuple[Array, Weights]:
    """Run the exact gradient; see `lstmkit.engine.numpy_twin.linear_backward`."""
    weights, x, dy = dense(weights), np.ascontiguousarray(x), np.ascontiguousarray(dy)
    outputs, inputs = weights["weight"].shape
    dx = empty((len(x), inputs), x.dtype)
    grads = {name: empty(array.shape, x.dtype) for name, array in weights.items()}
    run = LINEAR[x.dtype.char][1]
    out = (dx, grads["weight"], grads.get("bias"))
    run(len(x), inputs, outputs, x, weights["weight"], dy, *out)
    return dx, grads


class Stepper:
    """Cells one above the other, fed one step at a time; the weights are packed once, here."""

    def __init__(self, cells: list[Cell], weights: list[Weights], rows: int) -> None:
        dtype = weights[0]["weight_ih"].dtype.char
        steps = STEPS[dtype]([describe(cell) for cell in cells], [dense(w) for w in weights], rows)
        self.bind, self.step = steps.bind, steps.step  # see `lstmkit.engine.numpy_twin.Stepper`
