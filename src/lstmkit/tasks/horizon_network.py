"""The network that forecasts: an LSTM and a linear model together correct a naive forecast.

    history, then the naive forecast ─ LSTM ─ (dropout) ─ Linear ─┐
    history, known future ─ linear skip ──────────────────────────┴─ correction

The LSTM reads the history and goes on through the steps to forecast; at each of them it sees what
is known of that step (the naive forecast, the calendar, other covariates) and answers a correction.
Beside it stands a linear autoregression, as in LSTNet (Lai et al. 2018, arXiv:1703.07015, section
3.6). All steps are forecast at once, none from another's forecast.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lstmkit.layers import LSTM, Dropout, Linear
from lstmkit.shapes import Array
from lstmkit.tasks.horizon_windows import Window


class Network:
    """The LSTM, its head and the skip: a `training.Model` from `Window` to (N, horizon, n, Q).

    Parameters
    ----------
    inputs, flat : int
        I and F of `Window`.
    horizon, targets, levels : int
        The axes of the forecast: h steps, n targets, Q quantiles (1 for a point forecast).
    hidden_size, num_layers, dropout, dtype, rng
        Of the LSTM; dropout is also on its output.

    Notes
    -----
    With y the LSTM's output at step j of the horizon, and f the flat inputs,

    ``forecast[j, i, q] = head(y_j)[i, q] + (W_skip f)[j, i] + bias[j, i, q]``.
    """

    def __init__(
        self,
        inputs: int,
        flat: int,
        horizon: int,
        targets: int,
        levels: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        dtype: Any,
        rng: np.random.Generator,
    ) -> None:
        self.axes = (horizon, targets, levels)
        self.lstm = LSTM(inputs, hidden_size, num_layers, dropout=dropout, dtype=dtype, seed=rng)
        self.head = Linear(hidden_size, targets * levels, bias=False, dtype=dtype, seed=rng)
        self.head.parameters["weight"][...] = 0  # training starts from the linear answer
        self.skip = Linear(flat, horizon * targets, bias=False, dtype=dtype, seed=rng)
        self.bias: Array = np.zeros(self.axes, dtype)
        self._dropout = Dropout(dropout)

    @staticmethod
    def shapes_of(
        inputs: int,
        flat: int,
        horizon: int,
        targets: int,
        levels: int,
        hidden_size: int,
        num_layers: int,
        dropout: float,
        dtype: Any,
    ) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter of a network with these arguments; nothing is made."""
        lstm = LSTM.shapes_of(
            input_size=inputs,
            hidden_size=hidden_size,
            num_layers=num_layers,
            dropout=dropout,
            dtype=dtype,
        )
        shapes: dict[str, tuple[int, ...]] = {f"lstm.{name}": s for name, s in lstm.items()}
        shapes["head.weight"] = (targets * levels, hidden_size)
        shapes["skip.weight"] = (horizon * targets, flat)
        return shapes | {"bias": (horizon, targets, levels)}

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights by name, shared."""
        named = {f"lstm.{name}": array for name, array in self.lstm.parameters.items()}
        named["head.weight"] = self.head.parameters["weight"]
        named["skip.weight"] = self.skip.parameters["weight"]
        return named | {"bias": self.bias}

    def __call__(
        self, inputs: Window, state: Any = None, lengths: Any = None, reset: Any = None
    ) -> tuple[Array, Any]:
        """Return the forecast; nothing random."""
        y, _ = self.lstm(inputs.steps)
        return self._sum(self.head(y[:, -self.axes[0] :]), self.skip(inputs.flat)), None

    def forward(
        self,
        inputs: Window,
        state: Any = None,
        lengths: Any = None,
        reset: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, Any, Any]:
        """Return the forecast, no state and the tape; with a rng, dropout is on."""
        y, _, lstm = self.lstm.forward(inputs.steps, rng=rng)
        last, dropped = self._dropout.forward(y[:, -self.axes[0] :], rng)
        correction, head = self.head.forward(last)
        linear, skip = self.skip.forward(inputs.flat)
        return self._sum(correction, linear), None, (y.shape, lstm, dropped, head, skip)

    def _sum(self, correction: Array, linear: Array) -> Array:
        horizon, targets, levels = self.axes
        rows = len(linear)
        total = correction.reshape(rows, horizon, targets, levels) + self.bias
        return total + linear.reshape(rows, horizon, targets, 1)

    def backward(self, tape: Any, dprediction: Array) -> dict[str, Array]:
        """Return the gradients, named like `parameters`."""
        shape, lstm, dropped, head, skip = tape
        rows, horizon = len(dprediction), self.axes[0]
        _, dskip = self.skip.backward(skip, dprediction.sum(axis=3).reshape(rows, -1))
        dlast, dhead = self.head.backward(head, dprediction.reshape(rows, horizon, -1))
        dy = np.zeros(shape, dlast.dtype)
        dy[:, -horizon:] = self._dropout.backward(dropped, dlast)
        _, _, dlstm = self.lstm.backward(lstm, dy)
        grads = {f"lstm.{name}": array for name, array in dlstm.items()}
        grads |= {"head.weight": dhead["weight"], "skip.weight": dskip["weight"]}
        return grads | {"bias": dprediction.sum(axis=0)}
