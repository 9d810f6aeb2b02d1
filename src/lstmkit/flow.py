"""How far back a loss reaches: the gradient in the state of every step, by its distance.

A loss reads the last hidden state. What it says about the state ``k`` steps earlier is a gradient;
its norm against ``k`` is the flow. In the basic RNN there is one way back, through a matrix and the
slope of a tanh at every step. In the LSTM there is a second, from cell state to cell state, whose
factor is the forget gate alone: over ``k`` steps the product of ``k`` forget gates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.basic_rnn import BasicRNN
from lstmkit.cell import Cell
from lstmkit.layers import LSTM
from lstmkit.shapes import Array, InputError, real_array

Model = LSTM | BasicRNN | Mapping[str, ArrayLike]
"""A layer, or the parameters of `lstmkit.textbook`'s LSTM or basic RNN."""


class Flow(NamedTuple):
    """Gradients by distance: row k is for the state k steps before the last, 0 to T - 1.

    Attributes
    ----------
    dh : array (T,)
        ‖∂L/∂h_t‖, the mean over the batch of each sequence's norm.
    dc : array (T,) or None
        ‖∂L/∂c_t‖, every way counted, that through h_t too; None where there is no cell state.
    kept : array (T,) or None
        ``∏ f`` from step t + 1 to the last, the mean over units and sequences: the factor on the
        direct way back from cell state to cell state.
    kept_most : array (T,) or None
        The same of the unit that keeps most, at each distance.
    """

    dh: Array
    dc: Array | None = None
    kept: Array | None = None
    kept_most: Array | None = None


def measure(model: Model, x: ArrayLike, dy: ArrayLike | None = None) -> Flow:
    """Measure the flow in float64, exactly: each step's own backward pass, one after the other.

    Parameters
    ----------
    model
        An `lstmkit.LSTM` of one layer and direction, without variants but for coupled gates; a
        `lstmkit.basic_rnn.BasicRNN`; or the parameters of one of `lstmkit.textbook`: ``Wf`` … or
        ``W_xh W_hh b_h``.
    x : array (N, T, I) or (T, I)
        What it reads, from zero states.
    dy : array (N, H), optional
        The gradient of each sequence's loss in the last output; by default ones: the loss is the
        sum of the last output.

    Raises
    ------
    InputError
        If a shape does not fit, there is no step, or the LSTM is not a plain one.

    Examples
    --------
    With the forget gates wide open the gradient in the cell state arrives as it left:

    >>> lstm = LSTM(3, 8, forget_bias=100.0, dtype="float64", seed=0)
    >>> flow = measure(lstm, np.random.default_rng(0).normal(size=(2, 50, 3)))
    >>> print(flow.kept[-1], bool(flow.dc[-1] > 0.1))
    1.0 True
    """
    model = _in_float64(model)
    if np.ndim(x) == 2:  # the textbook's: one sequence
        x = np.asarray(x)[None]
    axes = ("batch", "time", ("input_size", model.input_size))
    x_ = real_array("flow", "x", x, axes, np.float64)
    batch, steps, _ = x_.shape
    if not batch or not steps:
        raise InputError(f"flow: x has shape {x_.shape}; expected a sequence and a step at least")
    last = np.ones((batch, model.hidden_size))
    if dy is not None:
        rows = (("batch", batch), ("hidden_size", model.hidden_size))
        last = real_array("flow", "dy", dy, rows, np.float64)

    state: Any = None
    tapes: list[Any] = []
    for t in range(steps):
        _, state, tape = model.forward(x_[:, t : t + 1], state)
        tapes.append(tape)
    dh, dc = np.zeros((2, steps, batch, model.hidden_size))
    dh[-1] = last
    shown: Array | None = last[:, None]
    dstate: Any = None
    for t in reversed(range(1, steps)):  # tape t leads from the state after step t - 1 to step t's
        _, dstate, _ = model.backward(tapes[t], shown, dstate)
        shown = None
        dh[t - 1] = dstate[0].reshape(batch, -1)
        if isinstance(model, LSTM):
            dc[t - 1] = dstate[1][0]
    if not isinstance(model, LSTM):
        return Flow(_by_distance(dh))
    trace = model.trace(x_)
    f, o, c = (array[0].swapaxes(0, 1) for array in (trace.f, trace.o, trace.c))
    with np.errstate(under="ignore"):
        dc += dh * o * (1 - np.tanh(c) ** 2)  # the way through h_t = o ∘ tanh(c_t)
        kept = np.concatenate([np.ones_like(f[:1]), np.cumprod(f[:0:-1], axis=0)])
    of_units = kept.mean(axis=1)
    return Flow(_by_distance(dh), _by_distance(dc), of_units.mean(axis=1), of_units.max(axis=1))


def _in_float64(model: Model) -> LSTM | BasicRNN:
    if isinstance(model, BasicRNN):
        return BasicRNN.from_parameters(model.parameters)
    if isinstance(model, Mapping):
        if "W_xh" not in model:
            return LSTM.from_textbook(dict(model))
        names = {"weight_ih": "W_xh", "weight_hh": "W_hh", "bias": "b_h"}
        missing = [name for name in names.values() if name not in model]
        if missing:
            raise InputError(f"flow: params lacks {', '.join(missing)}; expected W_xh, W_hh, b_h")
        weights = {ours: np.asarray(model[theirs]) for ours, theirs in names.items()}
        return BasicRNN.from_parameters({**weights, "bias": weights["bias"].reshape(-1)})
    lstm = model
    cell = lstm.cells[0]
    plain = Cell(
        lstm.input_size, lstm.hidden_size, bias=cell.bias, coupled_gates=cell.coupled_gates
    )
    if lstm.cells != [plain]:  # peepholes, clips, zoneout … are further ways from c to the loss
        raise InputError(
            "flow: model has layers, directions or variants that a flow does not follow; expected "
            f"one plain layer, not {lstm!r}"
        )
    return LSTM.from_parameters({**lstm.config, "dtype": "float64"}, lstm.parameters)


def _by_distance(gradient: Array) -> Array:
    """(T, N, H), in order of time → (T,), in order of distance.

    The root is taken of numbers near 1: the square of 1e-200 would be 0.
    """
    largest = np.abs(gradient).max(axis=2, keepdims=True)
    scaled = gradient / np.where(largest > 0, largest, 1)
    with np.errstate(under="ignore"):
        norms = largest[..., 0] * np.sqrt((scaled**2).sum(axis=2))
    distance: Array = norms.mean(axis=1)[::-1].copy()
    return distance
