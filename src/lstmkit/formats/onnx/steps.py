"""Our cells over time as ONNX nodes: an LSTM node where it can say all of it, else a Scan.

What the LSTM node has not: layer normalization, the clip of c, the projection, zoneout. And ONNX
Runtime computes the node in float32 alone, so that a float64 layer is a Scan as well. The body of a
Scan is one step, written as `lstmkit.engine.numpy_twin.advance` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lstmkit.cell import Cell
from lstmkit.engine.base import LAYER_NORM_EPSILON, Weights
from lstmkit.formats.onnx.build import Graph
from lstmkit.formats.onnx.claim import Place
from lstmkit.formats.onnx.node import (
    COUPLED_GATES,
    COUPLED_PEEPHOLES,
    FUNCTIONS,
    GATES,
    PEEPHOLES,
)
from lstmkit.shapes import Array

DIRECTIONS = {(False,): "forward", (True,): "reverse", (False, True): "bidirectional"}

# Our name: ONNX's, and the defaults of its numbers.
ONNX_NAMES = {
    ours: (onnx, [number for number in numbers if number is not None])
    for onnx, (ours, *numbers) in FUNCTIONS.items()
}
SPELLING = {
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "relu": "Relu",
    "softsign": "Softsign",
    "softplus": "Softplus",
    "leakyrelu": "LeakyRelu",
    "thresholdedrelu": "ThresholdedRelu",
    "elu": "Elu",
    "hardsigmoid": "HardSigmoid",
    "scaledtanh": "ScaledTanh",
    "affine": "Affine",
}


class Directions(NamedTuple):
    """The cells of one layer, one or two; they read the same x.

    ``backwards`` says of each whether it starts at the end. The model's own name of a weight is
    ``owner``, its short name and the ending of its cell. h and c are the names of the states before
    the first step, ``(D, N, P)`` and ``(D, N, H)``, or None for zeros.
    """

    cells: list[Cell]
    weights: list[Weights]
    backwards: tuple[bool, ...]
    owner: str
    endings: list[str]
    h: str | None = None
    c: str | None = None

    def hold(self, graph: Graph, short: str, array: str, layout: str) -> str:
        """Note that an array holds a weight of all directions; return the array's name."""
        for d, ending in enumerate(self.endings):
            graph.places[f"{self.owner}{short}{ending}"] = Place(array, layout, d)
        return array


def fits_a_node(cell: Cell, dtype: DTypeLike) -> bool:
    """Whether ONNX's LSTM has everything that the cell has, and is computed in this dtype."""
    lacking = (cell.layer_norm, cell.cell_clip, cell.proj_size, any(cell.zoneout))
    return not any(lacking) and np.dtype(dtype) == np.float32


# --------------------------------------------------------------------------------- the LSTM node


def node(graph: Graph, layer: Directions, x: str, lengths: str | None) -> tuple[str, str, str]:
    """Add a layer as an LSTM node, which takes the time axis first.

    x ``(T, N, I)`` and the real steps ``(N,)``, which come first, give y ``(T, N, D·H)`` and the h
    and c at the true end, ``(D, N, H)``. Past the end y is 0.
    """
    cell, count = layer.cells[0], len(layer.cells)
    size = cell.hidden_size
    places: Sequence[int] = COUPLED_GATES if cell.coupled_gates else GATES
    kind = "coupled_" if cell.coupled_gates else ""
    inputs = [x]
    for name, short in (("W", "weight_ih"), ("R", "weight_hh")):
        blocks = [_stacked(one[short], places, size, 4) for one in layer.weights]
        array = graph.weight(name, np.stack(blocks))
        inputs.append(layer.hold(graph, short, array, f"{kind}gates"))
    inputs += ["", "", "", "", ""]
    if cell.bias:
        biases = [_stacked(one["bias"], places, size, 4) for one in layer.weights]
        halves = np.stack([np.concatenate([one, np.zeros_like(one)]) for one in biases])
        inputs[3] = layer.hold(graph, "bias", graph.weight("B", halves), f"{kind}bias")
    if lengths is not None:
        inputs[4] = lengths
    if layer.h is not None and layer.c is not None:
        inputs[5:7] = layer.h, layer.c
    if cell.peepholes:
        places = COUPLED_PEEPHOLES if cell.coupled_gates else PEEPHOLES
        rows = [_stacked(one["peephole"].reshape(-1), places, size, 3) for one in layer.weights]
        array = graph.weight("P", np.stack(rows))
        inputs[7] = layer.hold(graph, "peephole", array, f"{kind}peepholes")
    while not inputs[-1]:
        inputs.pop()
    attributes: dict[str, Any] = {
        "hidden_size": size,
        "direction": DIRECTIONS[layer.backwards],
        **_activations(layer.cells),
    }
    if cell.coupled_gates:
        attributes["input_forget"] = 1
    if cell.gate_clip is not None:
        attributes["clip"] = cell.gate_clip
    y, h, c = graph.ops("LSTM", 3, *inputs, **attributes)
    if count == 1:
        y = graph.op("Squeeze", y, graph.ints(1))
    else:
        y = graph.op("Transpose", y, perm=[0, 2, 1, 3])
        y = graph.op("Reshape", y, graph.ints(0, 0, -1))
    if lengths is not None and layer.h is not None and layer.c is not None:
        # A sequence without a step keeps its state here, and gets zeros from ONNX.
        some = graph.op("Greater", lengths, graph.constant(np.array(0, np.int32)))
        some = graph.op("Unsqueeze", some, graph.ints(0, 2))
        h = graph.op("Where", some, h, layer.h)
        c = graph.op("Where", some, c, layer.c)
    return y, h, c


def _stacked(blocks: Array, places: Sequence[int], size: int, count: int) -> Array:
    """Put blocks of H rows to their places among ONNX's; those that we have not are 0."""
    stacked = np.zeros((count, size, *blocks.shape[1:]), blocks.dtype)
    stacked[list(places)] = blocks.reshape(len(places), size, *blocks.shape[1:])
    return stacked.reshape(count * size, *blocks.shape[1:])


def _activations(cells: list[Cell]) -> dict[str, Any]:
    """Return the attributes; numbers stand in the order of the functions that take them."""
    names: list[str] = []
    alphas: list[float] = []
    betas: list[float] = []
    for function in (function for cell in cells for function in cell.activations):
        name, numbers = name_and_numbers(function)
        names.append(SPELLING[ONNX_NAMES[name][0]])
        alphas += numbers[:1]
        betas += numbers[1:]
    if names == ["Sigmoid", "Tanh", "Tanh"] * len(cells):
        return {}
    lists = {"activations": names, "activation_alpha": alphas, "activation_beta": betas}
    return {name: values for name, values in lists.items() if values}


def name_and_numbers(function: Any) -> tuple[str, list[float]]:
    """Return ONNX's function and all its numbers: ``"identity"`` is the affine one with 1 and 0."""
    if function == "identity":
        return "affine", [1.0, 0.0]
    if isinstance(function, str):
        return function, list(ONNX_NAMES[function][1])
    name, *numbers = function
    return name, numbers


# ------------------------------------------------------------------------------------- the Scan


def scan(graph: Graph, layer: Directions, x: str, mask: str | None) -> tuple[str, str, str]:
    """Add a layer as one Scan a direction.

    x ``(N, T, I)`` and a mask ``(N, T)`` of the steps that count give y ``(N, T, D·P)`` and the
    final h and c, ``(D, N, P)`` and ``(D, N, H)``. Steps that do not count keep the state; y is 0
    there.
    """
    runs = None if mask is None else graph.op("Unsqueeze", mask, graph.ints(2))
    found = [_scan(graph, layer, d, x, runs) for d in range(len(layer.cells))]
    if len(found) == 1:
        return found[0]
    ys, hs, cs = zip(*found, strict=True)
    return (
        graph.op("Concat", *ys, axis=2),
        graph.op("Concat", *hs, axis=0),
        graph.op("Concat", *cs, axis=0),
    )


def _scan(
    graph: Graph, layer: Directions, d: int, x: str, runs: str | None
) -> tuple[str, str, str]:
    """Add one direction; the products with x are done before the loop.

    x stays batch first: older versions of ONNX Runtime melt a Transpose and a MatMul into one
    operator that they have not in float64 (https://github.com/microsoft/onnxruntime/issues/28136).
    """
    cell, weights, backwards = layer.cells[d], layer.weights[d], layer.backwards[d]
    mine: dict[str, str] = {}
    for short, array in weights.items():
        # Matrices stand on the right of what they multiply: they are turned once, here.
        turned = short in ("weight_ih", "weight_hh", "weight_hr")
        mine[short] = graph.weight(f"{short}.{d}", array.T if turned else array)
        place = Place(mine[short], "turned" if turned else "same")
        graph.places[f"{layer.owner}{short}{layer.endings[d]}"] = place
    z = graph.op("MatMul", x, mine["weight_ih"])
    if cell.layer_norm:
        z = graph.op(
            "Mul", _normalized(graph, z, len(cell.gates) * cell.hidden_size), mine["norm_ih_gain"]
        )
    if cell.bias:
        z = graph.op("Add", z, mine["bias"])
    starts = [
        _start(graph, state, d, len(layer.cells), size, x)
        for state, size in ((layer.h, cell.output_size), (layer.c, cell.hidden_size))
    ]

    body = graph.body()
    inner = body.name("step")
    h = body.input(f"{inner}.h", graph.dtype, ["batch", cell.output_size])
    c = body.input(f"{inner}.c", graph.dtype, ["batch", cell.hidden_size])
    z_t = body.input(f"{inner}.z", graph.dtype, ["batch", len(cell.gates) * cell.hidden_size])
    h_new, c_new = _step(body, cell, mine, z_t, h, c)
    y = h_new
    sequences = [z]
    if runs is not None:
        counts = body.input(f"{inner}.counts", np.bool_, ["batch", 1])
        sequences.append(runs)
        h_new = body.op("Where", counts, h_new, h)
        c_new = body.op("Where", counts, c_new, c)
        y = body.op("Where", counts, y, body.number(0))
    for name, value, size in (("h", h_new, cell.output_size), ("c", c_new, cell.hidden_size)):
        body.output(f"{inner}.{name}_new", value, graph.dtype, ["batch", size])
    body.output(f"{inner}.y", y, graph.dtype, ["batch", cell.output_size])

    way = {"scan_input_axes": [1] * len(sequences), "scan_output_axes": [1]}
    if backwards:
        way |= {"scan_input_directions": [1] * len(sequences), "scan_output_directions": [1]}
    h_end, c_end, ys = graph.ops(
        "Scan", 3, *starts, *sequences,
        body=body.as_body(inner), num_scan_inputs=len(sequences), **way,
    )  # fmt: skip
    first = graph.ints(0)
    return ys, graph.op("Unsqueeze", h_end, first), graph.op("Unsqueeze", c_end, first)


def _start(graph: Graph, state: str | None, d: int, count: int, size: int, x: str) -> str:
    """Return the state of one direction before the first step, ``(N, size)``."""
    if state is not None:
        return graph.op("Gather", state, graph.whole(d), axis=0)
    batch = graph.op("Gather", graph.op("Shape", x), graph.ints(0))
    shape = graph.op("Concat", batch, graph.ints(size), axis=0)
    return graph.op("Expand", graph.number(0), shape)


def _step(
    graph: Graph, cell: Cell, weights: dict[str, str], z: str, h: str, c: str
) -> tuple[str, str]:
    """Add one step: z ``(N, G·H)`` and the state to the new state."""
    size = cell.hidden_size
    recurrent = graph.op("MatMul", h, weights["weight_hh"])
    if cell.layer_norm:
        hat = _normalized(graph, recurrent, len(cell.gates) * size)
        recurrent = graph.op("Mul", hat, weights["norm_hh_gain"])
    z = graph.op("Add", z, recurrent)
    blocks = graph.ints(*[size] * len(cell.gates))
    gates = dict(
        zip(cell.gates, graph.ops("Split", len(cell.gates), z, blocks, axis=1), strict=True)
    )
    gate, candidate, output = cell.activations

    def peep(which: int, z: str, seen: str) -> str:
        if not cell.peepholes:
            return z
        row = graph.op("Gather", weights["peephole"], graph.whole(which), axis=0)
        return graph.op("Add", z, graph.op("Mul", row, seen))

    def act(function: Any, z: str) -> str:
        if cell.gate_clip is not None:
            z = _clipped(graph, z, cell.gate_clip)
        return activation(graph, function, z)

    i = act(gate, peep(0, gates["i"], c))
    if cell.coupled_gates:
        f = graph.op("Sub", graph.number(1), i)
    else:
        f = act(gate, peep(1, gates["f"], c))
    g = act(candidate, gates["g"])
    c_new = graph.op("Add", graph.op("Mul", f, c), graph.op("Mul", i, g))
    if cell.cell_clip is not None:
        c_new = _clipped(graph, c_new, cell.cell_clip)
    c_new = _zoned_out(graph, cell.zoneout[0], c, c_new)
    o = act(gate, peep(len(cell.gates) - 2, gates["o"], c_new))
    seen = c_new
    if cell.layer_norm:
        seen = graph.op("Mul", _normalized(graph, c_new, size), weights["norm_c_gain"])
        seen = graph.op("Add", seen, weights["norm_c_shift"])
    h_new = graph.op("Mul", o, activation(graph, output, seen))
    if cell.proj_size:
        h_new = graph.op("MatMul", h_new, weights["weight_hr"])
    return _zoned_out(graph, cell.zoneout[1], h, h_new), c_new


def _clipped(graph: Graph, z: str, limit: float) -> str:
    return graph.op("Clip", z, graph.number(-limit), graph.number(limit))


def _zoned_out(graph: Graph, rate: float, old: str, new: str) -> str:
    """Keep a share of the old value: the expectation, which is what a network in use has."""
    if not rate:
        return new
    return graph.op("Add", new, _times(graph, graph.op("Sub", old, new), rate))


def _times(graph: Graph, z: str, factor: float) -> str:
    """Multiply by a number.

    ONNX Runtime (1.31) makes one operator of a MatMul and a factor behind it, which keeps the
    factor in float32, in float64 as well: an error of 1e-8. A sign between them prevents that.
    """
    if graph.dtype == np.float64:
        z, factor = graph.op("Neg", z), -factor
    return graph.op("Mul", z, graph.number(factor))


def _normalized(graph: Graph, a: str, size: int) -> str:
    """Bring the last axis to mean 0 and variance 1.

    Not LayerNormalization: it came with opset 17, and computes in float32 unless told otherwise.
    """

    def mean(value: str) -> str:
        return graph.op(
            "Div", graph.op("ReduceSum", value, graph.ints(-1), keepdims=1), graph.number(size)
        )

    centred = graph.op("Sub", a, mean(a))
    variance = graph.op(
        "Add", mean(graph.op("Mul", centred, centred)), graph.number(LAYER_NORM_EPSILON)
    )
    return graph.op("Div", centred, graph.op("Sqrt", variance))


# ------------------------------------------------------------------------------ the activations


def activation(graph: Graph, function: Any, z: str) -> str:
    """Add an activation of every number.

    ONNX has most of them as operators; in float64 ONNX Runtime has only σ, tanh and relu of them.
    """
    name, numbers = name_and_numbers(function)
    add, number = graph.op, graph.number
    spelling = SPELLING[ONNX_NAMES[name][0]]
    if function == "identity":
        return z
    if name in ("sigmoid", "tanh", "relu"):
        return add(spelling, z)
    if name == "affine":
        return add("Add", _times(graph, z, numbers[0]), number(numbers[1]))
    if name == "scaled_tanh":
        return _times(graph, add("Tanh", _times(graph, z, numbers[1])), numbers[0])
    if name == "thresholded_relu":  # ONNX's operator gives 0 at alpha itself, its LSTM does not
        return add("Where", add("Less", z, number(numbers[0])), number(0), z)
    if graph.dtype == np.float32:
        return add(spelling, z, **dict(zip(("alpha", "beta"), numbers, strict=False)))
    if name == "hard_sigmoid":
        line = add("Add", _times(graph, z, numbers[0]), number(numbers[1]))
        return add("Clip", line, number(0), number(1))
    if name == "softsign":
        return add("Div", z, add("Add", add("Abs", z), number(1)))
    if name == "softplus":
        tail = add("Exp", add("Neg", add("Abs", z)))
        return add("Add", add("Relu", z), add("Log", add("Add", tail, number(1))))
    below = z
    if name == "elu":
        below = add("Sub", add("Exp", add("Min", z, number(0))), number(1))
    return add("Where", add("Greater", z, number(0)), z, _times(graph, below, numbers[0]))
