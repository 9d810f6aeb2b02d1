"""lstmkit itself: the native engine, and the NumPy twin that is always there."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from grid import Contender, Problem, numpy_engine

import lstmkit as lk


def _task(problem: Problem) -> Callable[[], object]:
    """Only public calls, as a user writes them."""
    work, lstm, x = problem.work, problem.lstm, problem.x
    if work.kind == "step":
        return partial(lstm.stream(work.batch).step, x[:, 0].copy())
    if work.kind == "sequence":
        return partial(lstm, x)
    rng = problem.mask_rng() if work.variant == "zoneout" else None  # draws anew in every call

    def train() -> object:
        _, _, tape = lstm.forward(x, lengths=problem.lengths, rng=rng)
        return lstm.backward(tape, problem.dy)

    return train


def native(problem: Problem) -> Contender:
    return Contender(lk.backend(), _task(problem), partial(problem.run, problem.lstm))


def numpy(problem: Problem) -> Contender:
    def outputs() -> dict:
        with numpy_engine():
            return problem.run(problem.lstm)

    with numpy_engine():
        return Contender("numpy", _task(problem), outputs, numpy_engine)
