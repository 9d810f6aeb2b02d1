"""Anything with a step, run step by step: it holds the state that whole sequences keep inside.

A snapshot is a small safetensors file in memory: numbers, never code, so it may come from anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from lstmkit.shapes import Array, InputError, check_shape, integer_array, real_array, shown

State = tuple[Array, Array]


class Stepper(Protocol):
    """What a `Stream` runs."""

    def bind(self, h: Array, c: Array) -> None:
        """Let every step change these arrays: h ``(L, N, P)`` and c ``(L, N, H)``."""

    def step(self, x: Array, y: Array) -> None:
        """Take one step: x ``(N, I)`` in, y ``(N, P)`` out, the state in place."""


class Stream:
    """A model that is fed one time step after another.

    Parameters
    ----------
    stepper : Stepper
        Takes a step: it reads x, changes the state that is bound to it in place, and writes y.
    start : pair of arrays
        h ``(L, N, P)`` and c ``(L, N, H)`` before the first step, and after a reset.
    input_size : int
        I.
    dtype : str or numpy dtype
        What x is turned into.

    Examples
    --------
    >>> import lstmkit as lk
    >>> stream = lk.LSTM(3, 4, seed=0).stream()
    >>> y = stream.step([[0.1, 0.2, 0.3]])
    >>> y.shape
    (1, 4)
    """

    def __init__(self, stepper: Stepper, start: State, input_size: int, dtype: DTypeLike) -> None:
        self._start, self._dtype = start, np.dtype(dtype)
        self._input_shape = (start[0].shape[1], input_size)
        self._output_shape = start[0].shape[1:]
        self._state = (start[0].copy(), start[1].copy())
        stepper.bind(*self._state)
        self._step = stepper.step

    @property
    def state(self) -> State:
        """H ``(L, N, P)`` and c ``(L, N, H)`` now; copies. Assign a pair to go on from there."""
        return self._state[0].copy(), self._state[1].copy()

    @state.setter
    def state(self, state: tuple[ArrayLike, ArrayLike]) -> None:
        if not isinstance(state, tuple | list) or len(state) != 2:
            raise InputError("stream: state is not a pair of arrays (h, c)")
        h = real_array("stream", "h", state[0], self._start[0].shape, self._dtype)
        c = real_array("stream", "c", state[1], self._start[1].shape, self._dtype)
        self._state[0][...], self._state[1][...] = h, c

    def step(self, x_t: ArrayLike, out: Array | None = None) -> Array:
        """Take one time step.

        Parameters
        ----------
        x_t : array (N, I)
            The input of every row at this step.
        out : array (N, P or H), optional
            Where to write y_t, C-contiguous and of the layer's dtype: then the step allocates
            nothing.

        Returns
        -------
        y_t : array (N, P or H)
            Output of the last layer: the caller's to keep; ``out`` if it was given.
        """
        x = x_t  # what needs no check or change, as in a loop, gets none
        if (
            not isinstance(x, np.ndarray)
            or x.dtype != self._dtype
            or x.shape != self._input_shape
            or not x.flags.c_contiguous
        ):
            rows, size = self._input_shape
            axes = (("batch", rows), ("input_size", size))
            x = np.ascontiguousarray(real_array("stream.step", "x_t", x_t, axes, self._dtype))
        if out is None:
            out = np.empty(self._output_shape, self._dtype)
        elif (
            not isinstance(out, np.ndarray)
            or out.dtype != self._dtype
            or out.shape != self._output_shape
            or not out.flags.carray
        ):
            raise InputError(
                f"stream.step: out is no C-contiguous, writable {self._dtype} array of shape "
                f"{self._output_shape}; make it with numpy.empty"
            )
        self._step(x, out)
        return out

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Forget: put all rows, or the given ones, back to the starting state."""
        chosen: Array | slice = slice(None)
        if rows is not None:
            chosen = integer_array(
                "stream.reset", "rows", rows, ("rows",), 0, self._input_shape[0] - 1
            )
        for now, start in zip(self._state, self._start, strict=True):
            now[:, chosen] = start[:, chosen]

    def snapshot(self) -> bytes:
        """Return the state as bytes, to be kept anywhere and given to `restore`."""
        return _write([self._state], [""])

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot, of this stream or of one with the same shapes.

        Raises
        ------
        InputError
            If the bytes are damaged, or of another shape or dtype; the state is left as it was.
        """
        (state,) = _read(snapshot, [self._start], [""])
        self._state[0][...], self._state[1][...] = state


Part = Stream | Callable[[Array], Array]


class SequentialStream:
    """A chain of layers that is fed one time step after another; `Sequential.stream` makes it.

    Parameters
    ----------
    parts : list of Stream or callable
        In their order; each gets what the one before it gives.
    check : callable, optional
        Turns what the caller gives into what the first part takes; a Stream does so itself.

    Examples
    --------
    >>> import lstmkit as lk
    >>> model = lk.Sequential({"lstm": lk.LSTM(3, 4, seed=0), "head": lk.Linear(4, 2, seed=0)})
    >>> stream = model.stream(batch_size=5)
    >>> y = stream.step(np.ones((5, 3)))
    >>> stream.reset(rows=[0])
    >>> saved = stream.snapshot()
    """

    def __init__(
        self, parts: Sequence[Part], check: Callable[[ArrayLike], Array] | None = None
    ) -> None:
        self._streams = [part for part in parts if isinstance(part, Stream)]
        self._steps: list[Callable[[Any], Array]] = [] if check is None else [check]
        self._steps += [part.step if isinstance(part, Stream) else part for part in parts]
        self._names = [f"{k}." for k in range(len(self._streams))]

    @property
    def state(self) -> tuple[State, ...]:
        """H and c of every LSTM now; copies. Assign as many pairs to go on from there."""
        return tuple(stream.state for stream in self._streams)

    @state.setter
    def state(self, state: Sequence[tuple[ArrayLike, ArrayLike]]) -> None:
        if not isinstance(state, tuple | list) or len(state) != len(self._streams):
            raise InputError(
                f"stream: state is not a sequence of {len(self._streams)} pairs (h, c)"
            )
        before = self.state
        try:
            for stream, pair in zip(self._streams, state, strict=True):
                stream.state = pair
        except InputError:  # all of it or none
            for stream, pair in zip(self._streams, before, strict=True):
                stream.state = pair
            raise

    def step(self, x_t: ArrayLike) -> Array:
        """Take one time step: x_t ``(N, I)``, or tokens ``(N,)``, in; y_t ``(N, O)`` out."""
        y: Any = x_t
        for step in self._steps:
            y = step(y)
        found: Array = y
        return found

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Forget: put all rows, or the given ones, back to the starting state."""
        for stream in self._streams:
            stream.reset(rows)

    def snapshot(self) -> bytes:
        """Return the states as bytes, to be kept anywhere and given to `restore`."""
        return _write([stream._state for stream in self._streams], self._names)

    def restore(self, snapshot: bytes) -> None:
        """Go back to a snapshot, of this stream or of one with the same shapes.

        Raises
        ------
        InputError
            If the bytes are damaged, or of another shape or dtype; the state is left as it was.
        """
        starts = [stream._start for stream in self._streams]
        states = _read(snapshot, starts, self._names)
        for stream, state in zip(self._streams, states, strict=True):
            stream._state[0][...], stream._state[1][...] = state


def _write(states: list[State], names: list[str]) -> bytes:
    arrays = {
        name + letter: np.ascontiguousarray(array)
        for name, state in zip(names, states, strict=True)
        for letter, array in zip("hc", state, strict=True)
    }
    import safetensors.numpy

    data: bytes = safetensors.numpy.save(arrays)
    return data


def _read(snapshot: bytes, starts: list[State], names: list[str]) -> list[State]:
    """Read states that have the shapes and dtypes of the starts, all of them or none."""
    import safetensors.numpy

    try:
        arrays = safetensors.numpy.load(snapshot)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"stream.restore: snapshot is damaged ({shown(error)})") from None
    expected = {
        name + letter: array
        for name, start in zip(names, starts, strict=True)
        for letter, array in zip("hc", start, strict=True)
    }
    if set(arrays) != set(expected):
        raise InputError(
            f"stream.restore: snapshot holds something else than {' and '.join(expected)}"
        )
    for name, start in expected.items():
        check_shape("stream.restore", name, arrays[name], start.shape)
        if arrays[name].dtype != start.dtype:
            raise InputError(
                f"stream.restore: {name} has dtype {arrays[name].dtype}; expected {start.dtype}"
            )
    return [(arrays[name + "h"], arrays[name + "c"]) for name in names]
