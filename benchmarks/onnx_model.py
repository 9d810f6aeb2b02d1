"""The row's LSTM as an ONNX graph, node by node with `onnx.helper`: LSTM nodes and no others.

ONNX stacks the gates as i, o, f, c and has two biases; sequences are (time, batch, features).
"""

from __future__ import annotations

import numpy as np
import onnx
from grid import Problem
from onnx import TensorProto, helper, numpy_helper

ORDER = (0, 3, 1, 2)  # of i, f, g, o


def reorder(array: np.ndarray) -> np.ndarray:
    gates = array.reshape(4, -1, *array.shape[1:])
    return np.ascontiguousarray(gates[list(ORDER)]).reshape(array.shape)


def weights(problem: Problem, layer: int) -> dict[str, np.ndarray]:
    """W (D, 4H, I), R (D, 4H, H) and B (D, 8H)."""
    directions = [problem.weights(layer, d) for d in range(problem.work.directions)]
    return {
        "W": np.stack([reorder(w["weight_ih"]) for w in directions]),
        "R": np.stack([reorder(w["weight_hh"]) for w in directions]),
        "B": np.stack(
            [np.concatenate([reorder(w["bias"]), np.zeros_like(w["bias"])]) for w in directions]
        ),
    }


def build(problem: Problem) -> bytes:
    """Return the model: x (T, N, I) → y (T, N, D·H); a step also takes h, c and gives them back."""
    work = problem.work
    steps, batch, hidden, directions = work.steps, work.batch, work.hidden_size, work.directions
    shape_of_state = [directions, batch, hidden]
    stateful = work.kind == "step"
    nodes, constants = [], []

    def constant(name: str, array: np.ndarray) -> str:
        constants.append(numpy_helper.from_array(array, name))
        return name

    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [steps, batch, work.input_size])
    ]
    outputs = [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [steps, batch, directions * hidden])
    ]
    if stateful:
        for name, infos in (("h", inputs), ("c", inputs), ("h_new", outputs), ("c_new", outputs)):
            infos.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape_of_state))
        outputs.pop(0)  # the new h is the output
    flow = "x"
    for k in range(work.layers):
        named = [constant(f"{name}{k}", array) for name, array in weights(problem, k).items()]
        state = ["", "h", "c"] if stateful else []
        nodes.append(
            helper.make_node(
                "LSTM",
                [flow, *named, *state],
                ["", "h_new", "c_new"] if stateful else [f"Y{k}"],
                hidden_size=hidden,
                direction="bidirectional" if work.bidirectional else "forward",
            )
        )
        if stateful:
            continue
        # (T, D, N, H) → (T, N, D·H)
        flow = "y" if k == work.layers - 1 else f"y{k}"
        if directions == 1:
            axis = constant(f"axis{k}", np.array([1], np.int64))
            nodes.append(helper.make_node("Squeeze", [f"Y{k}", axis], [flow]))
        else:
            shape = constant(f"shape{k}", np.array([steps, batch, directions * hidden], np.int64))
            nodes.append(
                helper.make_node("Transpose", [f"Y{k}"], [f"turned{k}"], perm=[0, 2, 1, 3])
            )
            nodes.append(helper.make_node("Reshape", [f"turned{k}", shape], [flow]))
    graph = helper.make_graph(nodes, "lstm", inputs, outputs, constants)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
