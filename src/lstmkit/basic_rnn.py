"""The basic RNN over a batch: what the LSTM is held against.

`lstmkit.textbook` has the same network one sequence at a time. This one is batched, so that it can
be trained, and it has the contract of `lstmkit.LSTM`: ``forward(x, state) -> (y, state, tape)``
beside ``backward(tape, dy, dstate) -> (dx, dstate, grads)``, both pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from lstmkit.cell import glorot, orthogonal
from lstmkit.shapes import (
    Array,
    any_array,
    floating_dtype,
    generator,
    positive_integer,
    real_array,
)

State = tuple[Array]
Tape = tuple[Array, Array, Array | None]


class BasicRNN:
    """``h_t = tanh(W_ih x_t + W_hh h_{t-1} + b)``: one state, no gate (Elman 1990).

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    dtype : {"float32", "float64"}
        Of weights, states and outputs.
    seed : int or numpy.random.Generator, optional
        Of the initial weights, drawn as `lstmkit.LSTM` draws its own: Glorot-uniform
        ``weight_ih``, orthogonal ``weight_hh``, zero bias. An orthogonal matrix neither shrinks nor
        stretches a gradient, so what is lost at the start is lost by the slope of the tanh alone:
        the kindest start that the basic RNN has.

    Attributes
    ----------
    parameters : dict of arrays
        ``weight_ih (H, I)``, ``weight_hh (H, H)``, ``bias (H)``; the arrays that it computes with.

    Examples
    --------
    >>> rnn = BasicRNN(3, 5, seed=0)
    >>> y, (h,), tape = rnn.forward(np.ones((2, 7, 3)))
    >>> dx, (dh0,), grads = rnn.backward(tape, np.ones_like(y))
    >>> y.shape, h.shape, grads["weight_hh"].shape
    ((2, 7, 5), (2, 5), (5, 5))
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, dtype: DTypeLike = "float32", seed: Any = None
    ) -> None:
        self.input_size = positive_integer("basic_rnn", "input_size", input_size)
        self.hidden_size = positive_integer("basic_rnn", "hidden_size", hidden_size)
        self.dtype = floating_dtype("basic_rnn", dtype)
        rng = generator("basic_rnn", seed)
        self.parameters: dict[str, Array] = {
            "weight_ih": glorot(rng, hidden_size, input_size).astype(self.dtype),
            "weight_hh": orthogonal(rng, hidden_size, hidden_size).astype(self.dtype),
            "bias": np.zeros(hidden_size, self.dtype),
        }

    @classmethod
    def from_parameters(
        cls, parameters: Mapping[str, ArrayLike], dtype: DTypeLike = "float64"
    ) -> BasicRNN:
        """Make one from copies of ``weight_ih``, ``weight_hh`` and ``bias``.

        Raises
        ------
        InputError
            If a shape disagrees with the others.
        """
        hidden, inputs = any_array(
            "basic_rnn", "weight_ih", parameters["weight_ih"], ("hidden", "input")
        ).shape
        rnn = cls(inputs, hidden, dtype=dtype, seed=0)
        for name, array in rnn.parameters.items():
            array[:] = real_array("basic_rnn", name, parameters[name], array.shape)
        return rnn

    def forward(
        self, x: ArrayLike, state: tuple[ArrayLike] | None = None, reset: ArrayLike | None = None
    ) -> tuple[Array, State, Tape]:
        """Run over x (N, T, I) from h (N, H), zeros if not given; y is (N, T, H).

        Where ``reset`` (N, T) is true the state is forgotten before that step.

        Raises
        ------
        InputError
            If an argument has the wrong shape or dtype.
        """
        axes = ("batch", "time", ("input_size", self.input_size))
        x_ = real_array("basic_rnn", "x", x, axes, self.dtype)
        batch = ("batch", len(x_)), ("hidden_size", self.hidden_size)
        h = np.zeros((len(x_), self.hidden_size), self.dtype)
        if state is not None:
            h = real_array("basic_rnn", "h", state[0], batch, self.dtype)
        kept = None
        if reset is not None:
            times = ("batch", len(x_)), ("time", x_.shape[1])
            forgotten = real_array("basic_rnn", "reset", reset, times) != 0
            kept = (~forgotten.T[..., None]).astype(self.dtype)
        states = run(self.parameters, x_, h, kept)
        y = np.ascontiguousarray(states[1:].swapaxes(0, 1))
        return y, (states[-1].copy(),), (x_, states, kept)

    def backward(
        self, tape: Tape, dy: ArrayLike | None, dstate: tuple[ArrayLike] | None = None
    ) -> tuple[Array, State, dict[str, Array]]:
        """Compute the exact gradient of `forward` in x, in the initial h and in every weight.

        Parameters
        ----------
        tape
            From `forward`.
        dy : array (N, T, H) or None
            Gradient of the loss in y; None for zero.
        dstate : tuple of one array (N, H), optional
            Gradient in the final h; zero by default.
        """
        x, states, kept = tape
        steps, rows, hidden = len(states) - 1, ("batch", len(x)), ("hidden_size", self.hidden_size)
        dh = np.zeros((len(x), self.hidden_size), self.dtype)
        if dstate is not None:
            dh = real_array("basic_rnn.backward", "dh", dstate[0], (rows, hidden), self.dtype)
        shown = None
        if dy is not None:
            axes = (rows, ("time", steps), hidden)
            shown = real_array("basic_rnn.backward", "dy", dy, axes, self.dtype).swapaxes(0, 1)

        w_hh, dz = self.parameters["weight_hh"], np.empty_like(states[1:])
        slope = 1 - states[1:] ** 2  # of the tanh
        with np.errstate(under="ignore"):  # a gradient that has died out is 0
            for t in reversed(range(steps)):
                if shown is not None:
                    dh = dh + shown[t]
                np.multiply(dh, slope[t], out=dz[t])
                dh = dz[t] @ w_hh if kept is None else dz[t] @ w_hh * kept[t]
            # Step by step and then summed: one large product would wake BLAS's threads, which on a
            # busy machine costs more than all the rest.
            back, before = dz.swapaxes(1, 2), states[:-1] if kept is None else states[:-1] * kept
            grads = {
                "weight_ih": (back @ x.swapaxes(0, 1)).sum(axis=0),
                "weight_hh": (back @ before).sum(axis=0),
                "bias": dz.sum(axis=(0, 1)),
            }
            dx = (dz @ self.parameters["weight_ih"]).swapaxes(0, 1)
        return dx, (dh,), grads


def run(parameters: dict[str, Array], x: Array, h: Array, kept: Array | None = None) -> Array:
    """X (N, T, I) and h (N, H) → the T + 1 states (T + 1, N, H); of complex numbers too.

    ``kept`` (T, N, 1), if given, is 0 where the state is forgotten before a step and else 1.
    """
    z = x.swapaxes(0, 1) @ parameters["weight_ih"].T + parameters["bias"]
    w_hh = parameters["weight_hh"].T
    states = np.empty((len(z) + 1, *h.shape), np.result_type(z, w_hh, h))
    states[0] = h
    for t, z_t in enumerate(z):
        before = states[t] if kept is None else states[t] * kept[t]
        states[t + 1] = np.tanh(z_t + before @ w_hh)
    return states
