"""PyTorch with `torch.compile` (inductor; needs a C++ compiler).

`torch.compile` leaves `torch.nn.LSTM` as it is (its tracer does not go into recurrent layers), so
it enters with what it can fuse: the cell for a step, with and without inductor's `freezing` of the
weights; for training the loop by hand, compiled one step, ten steps and, up to 50 steps, a whole
sequence at a time. (A hundred steps take minutes to compile and run no faster than ten at a time.)
Compiling is never timed, but each attempt has its limit: `--compile-seconds`.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from grid import Contender, LeftOut, Problem
from peers_pytorch import cell_step, fill, versions
from torch_loop import Training, run_steps

__all__ = ["NAME", "contenders", "versions"]

NAME = "torch.compile"
seconds = 120.0  # set by --compile-seconds


class OutOfTime(BaseException):
    """Not an Exception: the tracer catches those."""


@contextmanager
def time_box() -> Iterator[None]:
    """Stop compiling after so long; where there is no alarm clock (Windows), let it go on."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_: object) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def contenders(problem: Problem) -> list[Contender]:
    work = problem.work
    if work.kind == "sequence" or work.ragged:
        raise LeftOut("torch.compile leaves torch.nn.LSTM as it is")
    if work.kind == "step":
        attempts = [partial(_cell, problem, way) for way in ("plain", "freezing")]
    else:
        lengths = [1, 10] + ([work.steps] if work.steps <= 50 else [])
        attempts = [partial(_loop, problem, at_once) for at_once in lengths]
    found, failed = [], []
    for attempt in attempts:
        what = ", ".join(map(str, attempt.args[1:]))
        torch._dynamo.reset()
        try:
            with time_box():
                contender = attempt()
                with contender.around():
                    contender.call()  # compiles
            found.append(contender)
        except OutOfTime:
            failed.append(f"{what}: more than {seconds:.0f} s to compile")
        except Exception as error:  # no compiler, or a graph that inductor cannot lower
            failed.append(f"{what}: {type(error).__name__}")
    if failed:
        print(f"torch.compile left out {'; '.join(failed)}", file=sys.stderr, flush=True)
    if not found:
        raise LeftOut("; ".join(failed))
    return found


def _cell(problem: Problem, way: str) -> Contender:
    work = problem.work
    cell = fill(torch.nn.LSTMCell(work.input_size, work.hidden_size), problem).eval()
    options = {"freezing": way == "freezing"}
    compiled: Callable = torch.compile(cell, dynamic=False, fullgraph=True, options=options)
    call, outputs = cell_step(problem, compiled)
    return Contender(f"torch.nn.LSTMCell, {way}", call, outputs, torch.inference_mode)


def _loop(problem: Problem, at_once: int) -> Contender:
    steps = torch.compile(run_steps, dynamic=False, fullgraph=True)
    training = Training(problem, steps, at_once)
    return Contender(f"a loop by hand, {at_once} steps at once", training, training.outputs)
