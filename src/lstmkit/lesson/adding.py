"""The adding problem: remember two numbers for a hundred steps, then say their sum.

Each step shows a random number from 0 to 1 and a mark. Two steps are marked, one in each half of
the sequence; at the end the sum of their two numbers is asked. The task is that of Hochreiter and
Schmidhuber (1997, experiment 4), in the form of Le, Jaitly and Hinton (2015) and of Arjovsky, Shah
and Bengio (2016, section 5.2): numbers from 0 to 1 and a linear output. Who always answers 1, the
mean of the sum, has a mean squared error of 1/6 = 0.167, the variance of the sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from lstmkit.layers import Linear
from lstmkit.losses import mean_squared_error
from lstmkit.optimizers import adam, clip_by_global_norm, cosine
from lstmkit.shapes import Array, positive_integer

BASELINE = 1 / 6
"""The mean squared error of who answers 1 to everything."""

SOLVED = 0.01
"""At most this on sequences never seen: an error of a tenth, where the guess is off by 0.4."""


def sequences(rng: np.random.Generator, count: int, length: int = 100) -> tuple[Array, Array]:
    """Draw sequences x (count, length, 2), numbers and marks, and their sums y (count,).

    >>> x, y = sequences(np.random.default_rng(0), 3, 10)
    >>> print(x.shape, np.allclose((x[:, :, 0] * x[:, :, 1]).sum(axis=1), y))
    (3, 10, 2) True
    """
    positive_integer("adding", "length", length, least=2)
    x = np.zeros((count, length, 2))
    x[:, :, 0] = rng.uniform(size=(count, length))
    row, half = np.arange(count), length // 2
    first, second = rng.integers(0, half, count), rng.integers(half, length, count)
    x[row, first, 1] = x[row, second, 1] = 1
    y: Array = x[row, first, 0] + x[row, second, 0]
    return x, y


class Adder:
    """A recurrent layer whose last hidden state a linear layer reads.

    Parameters
    ----------
    layer
        An `lstmkit.LSTM` of one layer, or a `lstmkit.basic_rnn.BasicRNN`.
    seed : int or numpy.random.Generator, optional
        Of the linear layer's weights.
    """

    def __init__(self, layer: Any, seed: int | np.random.Generator | None = None) -> None:
        self.layer = layer
        self.readout = Linear(layer.hidden_size, 1, dtype=layer.dtype, seed=seed)

    @property
    def parameters(self) -> dict[str, Array]:
        """All weights; those of the linear layer are ``readout.weight`` and ``readout.bias``."""
        read = {f"readout.{name}": array for name, array in self.readout.parameters.items()}
        return {**self.layer.parameters, **read}

    def __call__(self, x: Array) -> Array:
        """Answer to x (N, T, 2): the sums (N,), as it sees them."""
        y, _, _ = self.layer.forward(x)
        answer: Array = self.readout(y[:, -1])[:, 0]
        return answer

    def loss(self, x: Array, y: Array) -> tuple[float, dict[str, Array]]:
        """Mean squared error of the answers, and its gradient in every parameter."""
        shown, _, tape = self.layer.forward(x)
        answer, read_tape = self.readout.forward(shown[:, -1])
        value, danswer = mean_squared_error(answer[:, 0], y.astype(answer.dtype))
        dlast, read = self.readout.backward(read_tape, danswer[:, None])
        dy = np.zeros_like(shown)
        dy[:, -1] = dlast
        _, _, grads = self.layer.backward(tape, dy)
        return value, {**grads, **{f"readout.{name}": grad for name, grad in read.items()}}

    def last_gradient(self, x: Array, y: Array) -> Array:
        """``∂L/∂h`` of the last step, (N, H), where L is each sequence's own squared error."""
        error = self(x) - y
        gradient: Array = 2 * error[:, None] * self.readout.parameters["weight"]
        return gradient


class Training(NamedTuple):
    """How a run goes: Adam, a cosine from ``learning_rate`` to 0, clipped gradients."""

    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 1e-2
    clip_norm: float = 1.0


class Learned(NamedTuple):
    """What came of a run.

    Attributes
    ----------
    curve : list of (step, mean squared error on held-out sequences)
    error : float
        The last of these.
    """

    curve: list[tuple[int, float]]
    error: float


def train(
    model: Adder,
    length: int,
    training: Training,
    seed: int,
    report: Callable[[int, float | None], None] = lambda step, error: None,
) -> Learned:
    """Train a model in place on sequences that never come twice.

    Parameters
    ----------
    model, length, training
        Whom, on sequences of how many steps, and how.
    seed : int
        Of the sequences; another stream than the held-out ones, which are always the same 500.
    report
        Called after each step with its number, and the held-out error where it was measured.
    """
    rng = np.random.default_rng([seed, 1])
    held_out = sequences(np.random.default_rng(20), 500, length)
    optimizer, schedule = adam(), cosine(training.learning_rate, training.steps)
    parameters = model.parameters
    state, curve = optimizer.init(parameters), [(0, error_of(model, *held_out))]
    every = max(1, training.steps // 20)
    for step in range(1, training.steps + 1):
        _, grads = model.loss(*sequences(rng, training.batch_size, length))
        grads, _ = clip_by_global_norm(grads, training.clip_norm)
        updates, state = optimizer.update(grads, state, parameters, schedule(step - 1))
        for name, change in updates.items():
            parameters[name] += change
        error = None
        if step % every == 0 or step == training.steps:
            error = error_of(model, *held_out)
            curve.append((step, error))
        report(step, error)
    return Learned(curve, curve[-1][1])


def error_of(model: Adder, x: Array, y: Array) -> float:
    """Mean squared error of the answers, measured a few hundred sequences at a time."""
    errors = [model(x[k : k + 250]) - y[k : k + 250] for k in range(0, len(x), 250)]
    return float(np.mean(np.square(np.concatenate(errors))))
