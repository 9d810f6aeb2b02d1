"""The work that is compared: every row of the grid, and the numbers it is done with.

A `Problem` holds one row's weights and input, and what must come out: the answer of lstmkit's NumPy
twin in float64, so that no float32 contender is judged by another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

import lstmkit as lk
from lstmkit import engine
from lstmkit.engine.masks import draw

Arrays = dict[str, np.ndarray]

THREADS = 2
STEPS_CHECKED = 3  # of a row that times one step
TOLERANCE = 1e-4
"""Of the largest value of each array. Float32 rounds at 6e-8; a gradient is a sum of up to 6400
products in an order that is each library's own, after up to 1000 steps that feed on one another.
What is found is mostly 1e-7 to 1e-6; a wrong gate order or a missing term gives 1e-1 or more."""

VARIANTS: dict[str, dict[str, Any]] = {
    "": {},
    "layer norm": {"layer_norm": True},
    "peepholes": {"peepholes": True},
    "zoneout": {"zoneout": (0.5, 0.05)},  # Krueger et al. 2017, section 5.2
}


@dataclass(frozen=True)
class Work:
    """What is done: ``kind`` is "step", "sequence" (inference) or "train" (forward + backward)."""

    kind: str
    batch: int
    steps: int
    input_size: int
    hidden_size: int
    layers: int = 1
    bidirectional: bool = False
    variant: str = ""
    ragged: bool = False

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def weight_bytes(self) -> int:
        """What a step at B=1 must read: all weights, float32."""
        return 4 * 4 * self.hidden_size * (self.input_size + self.hidden_size)

    def flops(self, tokens: int) -> float:
        """Of the matrix products; training has each three times (y, dx, dW)."""
        total = 0.0
        for layer in range(self.layers):
            size = self.input_size if layer == 0 else self.directions * self.hidden_size
            total += 8 * tokens * self.hidden_size * (size + self.hidden_size) * self.directions
        return total * (3 if self.kind == "train" else 1)


class Row(NamedTuple):
    """A line of the table; ``bound`` is what best peer ÷ lstmkit must reach."""

    name: str
    work: Work
    bound: float | None


GRID = (
    Row("step, B=1, I=H=64", Work("step", 1, 1, 64, 64), 4),
    Row("step, B=1, I=1 H=32", Work("step", 1, 1, 1, 32), 4),
    Row("step, B=1, I=H=256", Work("step", 1, 1, 256, 256), 2),
    Row("sequence, B=1 T=1000 I=64 H=128", Work("sequence", 1, 1000, 64, 128), 1.3),
    Row("sequence, B=1 T=1000 I=H=256", Work("sequence", 1, 1000, 256, 256), 1.3),
    Row(
        "sequence, two layers, bidirectional, B=8 T=200 I=80 H=256",
        Work("sequence", 8, 200, 80, 256, layers=2, bidirectional=True),
        1.2,
    ),
    Row("sequence, B=64 T=100 I=H=512", Work("sequence", 64, 100, 512, 512), 0.95),
    Row("train, B=16 T=50 I=16 H=32", Work("train", 16, 50, 16, 32), 2),
    Row("train, B=64 T=100 I=1 H=64", Work("train", 64, 100, 1, 64), 2),
    Row("train, B=20 T=35 2×200", Work("train", 20, 35, 200, 200, layers=2), 1.2),
    Row("train, B=32 T=100 I=H=256", Work("train", 32, 100, 256, 256), 1),
    Row(
        "train, ragged lengths 10…200, B=32 I=H=128",
        Work("train", 32, 200, 128, 128, ragged=True),
        2,
    ),
    *(
        Row(f"train, {name}, B=32 T=100 I=H=256", Work("train", 32, 100, 256, 256, variant=name), 2)
        for name in VARIANTS
        if name
    ),
    Row("ten thousand streams, one step each, I=H=128", Work("step", 10_000, 1, 128, 128), None),
)


class LeftOut(Exception):
    """A peer does not do this row; the message says why."""


class Disagreement(Exception):
    """A contender's numbers are wrong."""


class Contender(NamedTuple):
    """One way in which one system does the work.

    A peer may enter with several, and is timed with the fastest. ``outputs`` does the work once
    and returns what `Problem.expected` names; ``around`` is held while ``call`` is repeated, and
    ``memory`` as long as the contender lives: arrays that a library reads without keeping them.
    """

    configuration: str
    call: Callable[[], object]
    outputs: Callable[[], Arrays]
    around: Callable[[], AbstractContextManager[Any]] = nullcontext
    memory: object = None


@contextmanager
def numpy_engine() -> Iterator[None]:
    """Let lstmkit compute with NumPy alone, as if it were installed without the native engine."""
    native, engine.native = engine.native, None
    try:
        yield
    finally:
        engine.native = native


class Problem:
    """The weights, input and expected output of one row; arrays are batch first."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.lstm = lk.LSTM(
            work.input_size,
            work.hidden_size,
            work.layers,
            bidirectional=work.bidirectional,
            seed=0,
            **VARIANTS[work.variant],
        )
        rng = np.random.default_rng(1)
        for name, array in self.lstm.parameters.items():
            if not name.startswith(("weight_ih", "weight_hh")):  # where zeros would hide mistakes
                array += 0.1 * rng.standard_normal(array.shape, np.float32)
            if name.startswith(("norm_ih_gain", "norm_hh_gain")):
                # Gains of 1 make the recurrence chaotic: after 100 steps float32 has lost three
                # digits, whoever computes, and there is nothing left to compare.
                array *= 0.5
        shape = (work.batch, work.steps)
        outputs = work.directions * work.hidden_size
        self.x = rng.standard_normal((*shape, work.input_size), np.float32)
        self.dy = rng.standard_normal((*shape, outputs), np.float32)
        self.lengths: np.ndarray | None = None
        if work.ragged:
            self.lengths = rng.permutation(np.linspace(10, work.steps, work.batch).round())
            self.lengths = self.lengths.astype(np.int64)
            self.dy *= self.real[:, :, None]

    @property
    def real(self) -> np.ndarray:
        """(N, T): whether a step is real or past its sequence's end."""
        assert self.lengths is not None
        return np.arange(self.work.steps) < self.lengths[:, None]

    @property
    def tokens(self) -> int:
        if self.lengths is not None:
            return int(self.lengths.sum())
        return self.work.batch * self.work.steps

    def weights(self, layer: int = 0, direction: int = 0) -> Arrays:
        """By their short names; the gates stand in the order i, f, g, o."""
        return self.lstm.stack.weights(
            self.lstm.parameters, self.work.directions * layer + direction
        )

    def mask_rng(self) -> np.random.Generator:
        return np.random.default_rng(2)

    @cached_property
    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Zoneout of c and of h, each (T, N, H) bool: those that `mask_rng` gives lstmkit."""
        work = self.work
        drawn = draw(self.lstm.cells[0], self.mask_rng(), 0.0, work.batch, self.tokens, "float32")
        shape = (work.steps, work.batch, work.hidden_size)
        return drawn.zoneout_c.reshape(shape) > 0, drawn.zoneout_h.reshape(shape) > 0

    def run(self, lstm: lk.LSTM) -> Arrays:
        """Do the work once; one step is taken `STEPS_CHECKED` times from zero."""
        kind = self.work.kind
        if kind == "step":
            stream = lstm.stream(self.work.batch)
            return {"y": np.stack([stream.step(self.x[:, 0]) for _ in range(STEPS_CHECKED)])}
        if kind == "sequence":
            return {"y": lstm(self.x)[0]}
        rng = self.mask_rng() if self.work.variant == "zoneout" else None
        y, _, tape = lstm.forward(self.x, lengths=self.lengths, rng=rng)
        dx, _, grads = lstm.backward(tape, self.dy)
        return {"y": y, "dx": dx, **grads}

    @cached_property
    def expected(self) -> Arrays:
        """y, and for training the gradient in x and in every parameter."""
        with numpy_engine():
            config = {**self.lstm.config, "dtype": "float64"}
            return self.run(lk.LSTM.from_parameters(config, dict(self.lstm.parameters)))

    def check(self, who: str, outputs: Arrays) -> float:
        """Return the largest error, relative to the largest value of its array; or raise."""
        worst = 0.0
        for name, expected in self.expected.items():
            found = np.asarray(outputs[name], np.float64)
            if found.shape != expected.shape:
                raise Disagreement(f"{who}: {name} has shape {found.shape}, not {expected.shape}")
            error = float(np.abs(found - expected).max() / np.abs(expected).max())
            if not error < TOLERANCE:  # also catches nan
                raise Disagreement(f"{who}: {name} differs by {error:.1e} of its largest value")
            worst = max(worst, error)
        return worst
