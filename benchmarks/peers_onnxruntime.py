"""ONNX Runtime, CPU provider.

Configurations that enter, the fastest is timed: one or two threads inside an operator (a small LSTM
is faster with one), each with all optimizations, sequential execution and bound inputs and outputs
(`IOBinding`: no array is made or copied in a call). In a step the outputs of one call are bound as
the inputs of the next, so the state goes on without a copy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle

import numpy as np
import onnxruntime
from grid import STEPS_CHECKED, THREADS, Arrays, Contender, LeftOut, Problem
from onnx_model import build

NAME = "ONNX Runtime"


def versions() -> dict[str, str]:
    import onnx

    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}


def contenders(problem: Problem) -> list[Contender]:
    if problem.work.kind == "train":
        raise LeftOut("it does not train")
    model = build(problem)
    make = _step if problem.work.kind == "step" else _sequence
    return [make(problem, model, threads) for threads in range(1, THREADS + 1)]


def _session(model: bytes, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _bind(
    session: onnxruntime.InferenceSession, inputs: Arrays, outputs: Arrays
) -> onnxruntime.IOBinding:
    """On the CPU an OrtValue is the array's own memory."""
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for name, array in outputs.items():
        binding.bind_ortvalue_output(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    return binding


def _name(threads: int) -> str:
    return f"IOBinding, {threads} thread{'s' if threads > 1 else ''}"


def _step(problem: Problem, model: bytes, threads: int) -> Contender:
    work, session = problem.work, _session(model, threads)
    x = problem.x.swapaxes(0, 1).copy()
    h, c = np.zeros((2, 2, 1, work.batch, work.hidden_size), np.float32)  # two of each
    bindings = [
        _bind(session, {"x": x, "h": h[k], "c": c[k]}, {"h_new": h[1 - k], "c_new": c[1 - k]})
        for k in (0, 1)
    ]
    turn = cycle(bindings).__next__
    run: Callable = session.run_with_iobinding

    def call() -> None:
        run(turn())

    def outputs() -> Arrays:
        h[:], c[:] = 0, 0
        y = []
        for k in range(STEPS_CHECKED):
            run(bindings[k % 2])
            y.append(h[1 - k % 2, 0].copy())
        return {"y": np.stack(y)}

    return Contender(_name(threads), call, outputs, memory=x)


def _sequence(problem: Problem, model: bytes, threads: int) -> Contender:
    work, session = problem.work, _session(model, threads)
    x = problem.x.swapaxes(0, 1).copy()
    y = np.empty((work.steps, work.batch, work.directions * work.hidden_size), np.float32)
    binding = _bind(session, {"x": x}, {"y": y})

    def call() -> None:
        session.run_with_iobinding(binding)

    def outputs() -> Arrays:
        call()
        return {"y": y.swapaxes(0, 1).copy()}

    return Contender(_name(threads), call, outputs, memory=x)
