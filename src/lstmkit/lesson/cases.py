"""The numbers on which a learner's code is tried: none can be passed by luck.

Every gate has its own weights, there are not as many inputs as hidden units, states and biases are
not zero, gates are driven out to ±1000, and a sequence has one step or more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from lstmkit.lesson.mutants import GATES, Weights
from lstmkit.shapes import Array


@dataclass(frozen=True)
class Case:
    """One cell and what it reads: X (T, I), h and c (H,); for the way back dh (T, H), dc (H,)."""

    name: str
    weights: Weights
    X: Array
    h: Array
    c: Array
    dh: Array
    dc: Array

    @property
    def ours(self) -> dict[str, Array]:
        """The weights the way `lstmkit.LSTM` has them."""
        w = self.weights
        return {
            "weight_ih": np.concatenate([w.x[gate] for gate in GATES]),
            "weight_hh": np.concatenate([w.h[gate] for gate in GATES]),
            "bias": np.concatenate([w.b[gate] for gate in GATES]),
        }

    @property
    def second(self) -> dict[str, Array]:
        """The second of two biases, stacked; the first is what is left of their sum."""
        return {"bias": np.concatenate([self.weights.second[gate] for gate in GATES])}


def by_gate(ours: Mapping[str, Array]) -> Weights:
    """Take the stacked weights apart."""
    parts = [dict(zip(GATES, np.split(ours[name], 4), strict=True)) for name in ours]
    return Weights(*parts)


def make(name: str, seed: int, hidden: int, inputs: int, steps: int, scale: float = 0.6) -> Case:
    """Draw a case."""
    rng = np.random.default_rng(seed)
    other = np.random.default_rng(1000 + seed)  # so that the numbers of one bias stay what they are
    weights = Weights(
        {gate: rng.normal(0, scale, (hidden, inputs)) for gate in GATES},
        {gate: rng.normal(0, scale, (hidden, hidden)) for gate in GATES},
        {gate: rng.normal(0, scale, hidden) for gate in GATES},
        {gate: other.normal(0, scale, hidden) for gate in GATES},
    )
    draw = [rng.normal(size=shape) for shape in ((steps, inputs), hidden, hidden, (steps, hidden))]
    X, h, c, dh = draw
    return Case(name, weights, X, h, c, dh, rng.normal(size=hidden))


def _far_out() -> Case:
    """Drive every gate of some unit to each end: all 16 combinations of ±1000."""
    case = make("gates driven to ±1000", 4, 16, 3, 4)
    signs = {
        g: np.array([1.0 if unit >> k & 1 else -1.0 for unit in range(16)])
        for k, g in enumerate(GATES)
    }
    bias = {gate: 1000.0 * sign for gate, sign in signs.items()}
    return replace(case, weights=replace(case.weights, b=bias))


@lru_cache
def steps() -> tuple[Case, ...]:
    """Give the cases of one step: the first tells conventions and mistakes, the others confirm."""
    return (
        make("H = 5, I = 3", 1, 5, 3, 1),
        make("H = 3, I = 7", 2, 3, 7, 1),
        make("H = 5, I = 3, other numbers", 3, 5, 3, 1, 1.5),
    )


@lru_cache
def batch() -> tuple[Case, ...]:
    """Give three rows for the same weights; 3, T, H and I all differ."""
    rows = [make("a batch of 3 rows", seed, 5, 4, 6) for seed in (8, 9, 10)]
    return tuple(replace(row, weights=rows[0].weights) for row in rows)


@lru_cache
def far_out() -> Case:
    """Give the case whose gates are all saturated."""
    return _far_out()


@lru_cache
def sequences() -> tuple[Case, ...]:
    """Give the cases of a sequence; T, H, I and 2 all differ in the first."""
    return (
        make("T = 6, H = 5, I = 3", 5, 5, 3, 6),
        make("T = 1, H = 5, I = 3", 6, 5, 3, 1),
        make("T = 9, H = 3, I = 7", 7, 3, 7, 9),
    )
