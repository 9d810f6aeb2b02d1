"""The door to the engine: one cell over time, by the fastest twin that is there.

`forward_all`, `backward_all` and `Stepper` have one contract, that of
`lstmkit.engine.numpy_twin`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lstmkit.cell import Cell
from lstmkit.engine import numpy_twin
from lstmkit.engine.base import NO_MASKS, Masks, State, Tape, Weights, in_file
from lstmkit.engine.packing import Packing
from lstmkit.shapes import Array, InputError, one_of, positive_integer

__all__ = [
    "NO_MASKS",
    "Masks",
    "Packing",
    "State",
    "Tape",
    "Weights",
    "backend",
    "backward_all",
    "empty",
    "forward_all",
    "in_file",
    "set_num_threads",
    "stepper",
]


def _find_native() -> ModuleType | None:
    """Return the native twin, or None where the package was installed without it.

    A missing extension is no error, unless LSTMKIT_REQUIRE_NATIVE is 1; a broken one is.
    """
    wanted = one_of(
        "lstmkit",
        "the environment variable LSTMKIT_BACKEND",
        os.environ.get("LSTMKIT_BACKEND", ""),
        ("", "native", "numpy"),
    )
    if wanted == "numpy":
        return None
    if find_spec("lstmkit._native") is None:
        if wanted == "native" or os.environ.get("LSTMKIT_REQUIRE_NATIVE") == "1":
            raise ImportError(
                "lstmkit: the native engine is not installed, but LSTMKIT_REQUIRE_NATIVE or "
                "LSTMKIT_BACKEND asks for it; install a C++ compiler and lstmkit again"
            )
        return None
    from lstmkit.engine import native_twin

    return native_twin


native: ModuleType | None = _find_native()
"""The native twin in use, or None: then NumPy computes."""


def _twin(dtype: Any) -> Any:
    # The proofs of the gradients run complex numbers, which the readable twin alone takes.
    return numpy_twin if native is None or dtype.kind == "c" else native


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array to be filled: the native engine uses the memory of large ones again."""
    array: Array = np.empty(shape, dtype) if native is None else native.empty(shape, dtype)
    return array


def forward_all(calls: list[tuple[Any, ...]]) -> list[tuple[Array, State, Any]]:
    """Run cells that do not need each other, as the directions of a layer.

    Parameters
    ----------
    calls : list of tuples
        The arguments of `lstmkit.engine.numpy_twin.forward`, all of one dtype.

    Returns
    -------
    list of tuples
        For each y (tokens, P), the final state, and the tape.
    """
    twin = _twin(calls[0][2].dtype)
    results: list[tuple[Array, State, Any]] = twin.forward_all(calls)
    return results


def backward_all(calls: list[tuple[Any, ...]]) -> list[tuple[Array, State, Weights]]:
    """Run back by the twin that made the tapes.

    Parameters
    ----------
    calls : list of tuples
        The arguments of `lstmkit.engine.numpy_twin.backward`.

    Returns
    -------
    list of tuples
        For each dx, the gradient in the state, and in the weights.
    """
    twin: Any = numpy_twin if isinstance(calls[0][2], Tape) else native
    results: list[tuple[Array, State, Weights]] = twin.backward_all(calls)
    return results


def linear(weights: Weights, x: Array) -> Array:
    """Compute x Wᵀ + b for x (n, in): the layer on top of the cells, by the same twin.

    One library's threads must not spin where the other's work: see native/linear.hpp. There a row
    has the same bits alone and among any others.
    """
    y: Array = _twin(np.result_type(x, *weights.values())).linear(weights, x)
    return y


def linear_step(weights: Weights, rows: int) -> Callable[[Array], Array]:
    """Return `linear` for contiguous x of so many rows and the weights' dtype.

    What a step after the other need not find out again is found out here, once.
    """
    step: Callable[[Array], Array] = _twin(weights["weight"].dtype).linear_step(weights, rows)
    return step


def linear_backward(weights: Weights, x: Array, dy: Array) -> tuple[Array, Weights]:
    """Return dx and the gradients of `linear`."""
    found: tuple[Array, Weights] = _twin(x.dtype).linear_backward(weights, x, dy)
    return found


def stepper(cells: list[Cell], weights: list[Weights], rows: int) -> Any:
    """Cells one above the other, fed one step at a time, with the weights as they are now."""
    return _twin(weights[0]["weight_ih"].dtype).Stepper(cells, weights, rows)


def backend() -> str:
    """Say what computes: ``"native (avx2, 2 threads)"`` or ``"numpy"``.

    Examples
    --------
    >>> backend().split()[0] in ("native", "numpy")
    True
    """
    if native is None:
        return "numpy"
    from lstmkit import _native

    count = _native.get_num_threads()
    return f"native ({_native.isa()}, {count} thread{'s' if count > 1 else ''})"


def set_num_threads(count: int) -> None:
    """Let the native engine use so many threads; the results are the same bits with any number.

    The default is the environment variable LSTMKIT_NUM_THREADS, else OMP_NUM_THREADS, else the
    number of processors. NumPy's own threads are set by its library's variables
    (OPENBLAS_NUM_THREADS); without the native engine this function changes nothing.

    Raises
    ------
    InputError
        If the count is not a whole number from 1 to 1024.
    """
    count = positive_integer("set_num_threads", "count", count)
    if count > 1024:
        raise InputError(f"set_num_threads: count is {count}; expected at most 1024")
    if native is not None:
        from lstmkit import _native

        _native.set_num_threads(count)
