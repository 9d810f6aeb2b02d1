"""OpenVINO, CPU device.

The model is the same ONNX graph as ONNX Runtime's, read by OpenVINO; for a step also an `LSTMCell`
of its own operator set. Latency hint, float32, one infer request whose tensors are set once and
used again; one or two threads, the fastest configuration is timed. In a step two requests take
turns, each writing the state where the other reads it.
"""

from __future__ import annotations

from itertools import cycle

import numpy as np
import openvino
from grid import STEPS_CHECKED, THREADS, Arrays, Contender, LeftOut, Problem
from onnx_model import build
from openvino import opset13 as operators

NAME = "OpenVINO"
ORDER = (1, 0, 2, 3)  # f, i, c, o of i, f, g, o


def versions() -> dict[str, str]:
    return {"openvino": openvino.__version__}


def contenders(problem: Problem) -> list[Contender]:
    if problem.work.kind == "train":
        raise LeftOut("it does not train")
    from_onnx = openvino.Core().read_model(build(problem))
    threads = range(1, THREADS + 1)
    if problem.work.kind == "sequence":
        return [_sequence(problem, from_onnx, n) for n in threads]
    models = {"LSTMSequence": from_onnx, "LSTMCell": _cell(problem)}
    return [_step(problem, model, n, name) for name, model in models.items() for n in threads]


def _compile(model: openvino.Model, threads: int) -> openvino.CompiledModel:
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return openvino.Core().compile_model(model, "CPU", options)


def _cell(problem: Problem) -> openvino.Model:
    """x (1, N, I), h, c (1, N, H) → h_new, c_new, as the ONNX graph has them."""
    work, w = problem.work, problem.weights()

    def reorder(array: np.ndarray) -> np.ndarray:
        gates = array.reshape(4, -1, *array.shape[1:])
        return np.ascontiguousarray(gates[list(ORDER)]).reshape(array.shape)

    sizes = {"x": work.input_size, "h": work.hidden_size, "c": work.hidden_size}
    inputs = {
        name: operators.parameter([1, work.batch, size], np.float32, name=name)
        for name, size in sizes.items()
    }
    for name, node in inputs.items():
        node.output(0).set_names({name})
    axis = operators.constant(np.array([0], np.int64))
    rows = [operators.squeeze(node, axis) for node in inputs.values()]
    constants = [operators.constant(reorder(w[n])) for n in ("weight_ih", "weight_hh", "bias")]
    cell = operators.lstm_cell(*rows, *constants, hidden_size=work.hidden_size)
    results = []
    for k, name in enumerate(("h_new", "c_new")):
        node = operators.unsqueeze(cell.output(k), axis)
        node.output(0).set_names({name})
        results.append(operators.result(node))
    return openvino.Model(results, list(inputs.values()), "cell")


def _request(compiled: openvino.CompiledModel, tensors: Arrays) -> openvino.InferRequest:
    request = compiled.create_infer_request()
    for name, array in tensors.items():
        request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
    return request


def _infer(request: openvino.InferRequest) -> None:
    # Set tensors, run, wait: less than request.infer(), which also wraps what is already bound.
    request.start_async()
    request.wait()


def _step(problem: Problem, model: openvino.Model, threads: int, kind: str) -> Contender:
    work, compiled = problem.work, _compile(model, threads)
    x = problem.x.swapaxes(0, 1).copy()
    h, c = np.zeros((2, 2, 1, work.batch, work.hidden_size), np.float32)
    requests = [
        _request(compiled, {"x": x, "h": h[k], "c": c[k], "h_new": h[1 - k], "c_new": c[1 - k]})
        for k in (0, 1)
    ]
    turn = cycle(requests).__next__

    def call() -> None:
        _infer(turn())

    def outputs() -> Arrays:
        h[:], c[:] = 0, 0
        y = []
        for k in range(STEPS_CHECKED):
            _infer(requests[k % 2])
            y.append(h[1 - k % 2, 0].copy())
        return {"y": np.stack(y)}

    return Contender(
        f"{kind}, {threads} thread{'s' if threads > 1 else ''}", call, outputs, memory=x
    )


def _sequence(problem: Problem, model: openvino.Model, threads: int) -> Contender:
    work = problem.work
    y = np.empty((work.steps, work.batch, work.directions * work.hidden_size), np.float32)
    x = problem.x.swapaxes(0, 1).copy()
    request = _request(_compile(model, threads), {"x": x, "y": y})

    def call() -> None:
        _infer(request)

    def outputs() -> Arrays:
        call()
        return {"y": y.swapaxes(0, 1).copy()}

    name = f"LSTMSequence, {threads} thread{'s' if threads > 1 else ''}"
    return Contender(name, call, outputs, memory=x)
