"""One LSTM node of an ONNX graph: its attributes and inputs to our cells, and its outputs.

ONNX stacks the gates in the order i, o, f, c and the peepholes i, o, f; it keeps two biases that
are added, and one row of weights a direction: https://onnx.ai/onnx/operators/onnx__LSTM.html, the
same for opsets 1, 7, 14 (which brought ``layout``) and 22. NumPy alone; no protobuf comes here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lstmkit import engine
from lstmkit.cell import Cell, check_cell
from lstmkit.engine import Weights
from lstmkit.shapes import Array, InputError, check_shape, integer_array, one_of

INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
ATTRIBUTES = {
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "input_forget",
    "layout",
    "output_sequence",  # of opset 1: whether Y is wanted; the graph says so too
}
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
DEFAULT_ACTIVATIONS = ("Sigmoid", "Tanh", "Tanh")

# ONNX's name in small letters: our name, the default alpha and beta (None: takes none).
FUNCTIONS: dict[str, tuple[str, float | None, float | None]] = {
    "sigmoid": ("sigmoid", None, None),
    "tanh": ("tanh", None, None),
    "relu": ("relu", None, None),
    "softsign": ("softsign", None, None),
    "softplus": ("softplus", None, None),
    "leakyrelu": ("leaky_relu", 0.01, None),
    "thresholdedrelu": ("thresholded_relu", 1.0, None),
    "elu": ("elu", 1.0, None),
    "hardsigmoid": ("hard_sigmoid", 0.2, 0.5),
    "scaledtanh": ("scaled_tanh", 1.0, 1.0),
    "affine": ("affine", 1.0, 0.0),
}

# Where our blocks i, f, g, o (or i, g, o of a coupled cell) stand in ONNX's i, o, f, c.
GATES, COUPLED_GATES = (0, 2, 3, 1), (0, 3, 1)
PEEPHOLES, COUPLED_PEEPHOLES = (0, 2, 1), (0, 1)


class Direction(NamedTuple):
    """One direction of a node: a cell of ours, its weights, and whether it starts at the end."""

    cell: Cell
    weights: Weights
    backwards: bool


def directions(
    owner: str,
    attributes: Mapping[str, Any],
    W: Array,
    R: Array,
    B: Array | None = None,
    P: Array | None = None,
) -> list[Direction]:
    """Turn a node's weights into cells.

    Parameters
    ----------
    owner : str
        Who speaks in an error: ``"LSTM node 'lstm_1'"``.
    attributes : mapping
        By ONNX's names: numbers, texts and lists of them. A missing one has ONNX's default, a
        missing ``hidden_size`` is R's.
    W : array (D, 4H, I)
        Input weights; D is 1 or 2.
    R : array (D, 4H, H)
        Recurrent weights.
    B : array (D, 8H), optional
        Both biases, one after the other.
    P : array (D, 3H), optional
        Peepholes.

    Returns
    -------
    list of Direction
        One a direction, in ONNX's order; arrays are float32 or float64.

    Raises
    ------
    InputError
        If an attribute or a shape is not that of an ONNX LSTM.
    """
    _check_attributes(owner, attributes)
    ways = DIRECTIONS[one_of(owner, "direction", _text(attributes, "direction"), [*DIRECTIONS])]
    W, R = (_floats(owner, name, array) for name, array in (("W", W), ("R", R)))
    if R.ndim != 3 or W.ndim != 3:
        name, array = ("R", R) if R.ndim != 3 else ("W", W)
        raise InputError(
            f"{owner}: {name} has shape {array.shape}; expected (num_directions, 4*hidden_size, …)"
        )
    hidden = attributes.get("hidden_size", R.shape[2])
    if type(hidden) is not int or hidden < 1:
        raise InputError(f"{owner}: hidden_size is {hidden!r}; expected a whole number above 0")
    count = ("num_directions", len(ways))
    check_shape(owner, "R", R, (count, ("4*hidden_size", 4 * hidden), ("hidden_size", hidden)))
    check_shape(owner, "W", W, (count, ("4*hidden_size", 4 * hidden), "input_size"))
    if B is not None:
        B = _floats(owner, "B", B)
        check_shape(owner, "B", B, (count, ("8*hidden_size", 8 * hidden)))
    if P is not None:
        P = _floats(owner, "P", P)
        check_shape(owner, "P", P, (count, ("3*hidden_size", 3 * hidden)))
    clip = _clip(owner, attributes.get("clip"))
    coupled = bool(one_of(owner, "input_forget", attributes.get("input_forget", 0), (0, 1)))
    functions = _activations(owner, attributes, len(ways))
    gates = COUPLED_GATES if coupled else GATES
    peepholes = COUPLED_PEEPHOLES if coupled else PEEPHOLES
    found = []
    for d, backwards in enumerate(ways):
        cell = check_cell(
            owner,
            input_size=W.shape[2],
            hidden_size=hidden,
            proj_size=0,
            bias=B is not None,
            peepholes=P is not None,
            coupled_gates=coupled,
            layer_norm=False,
            cell_clip=None,
            gate_clip=clip,
            activations=functions[d],
            zoneout=(0.0, 0.0),
            learn_initial_state=False,
            bfloat16=False,
        )
        weights = {"weight_ih": _blocks(W[d], gates), "weight_hh": _blocks(R[d], gates)}
        if B is not None:
            weights["bias"] = _blocks(B[d, : 4 * hidden] + B[d, 4 * hidden :], gates)
        if P is not None:
            weights["peephole"] = P[d].reshape(3, hidden)[list(peepholes)]
        found.append(Direction(cell, weights, backwards))
    return found


def run_lstm(
    owner: str, attributes: Mapping[str, Any], inputs: Sequence[Array | None]
) -> tuple[Array, Array, Array]:
    """Compute an LSTM node.

    Parameters
    ----------
    owner : str
        Who speaks in an error.
    attributes : mapping
        See `directions`.
    inputs : sequence of arrays
        X, W, R and the optional B, sequence_lens, initial_h, initial_c, P; None, or the end of
        the sequence, for one that is missing. X is ``(T, N, I)`` and the states ``(D, N, H)``;
        with ``layout`` 1 they are ``(N, T, I)`` and ``(N, D, H)``. Floats of 16 bits are computed
        in 32 and rounded at the end.

    Returns
    -------
    Y : array (T, D, N, H), or (N, T, D, H) with ``layout`` 1
        h at every step; 0 past each sequence's end.
    Y_h, Y_c : arrays (D, N, H), or (N, D, H)
        The states at each sequence's true end; 0 for a sequence of length 0, even where it has
        an initial state. (Our own layer leaves that state as it was.)

    Raises
    ------
    InputError
        If an attribute, shape, dtype or length is not that of an ONNX LSTM.
    """
    if len(inputs) > len(INPUTS):
        raise InputError(f"{owner}: {len(inputs)} inputs; expected at most {len(INPUTS)}")
    given = dict(zip(INPUTS, [*inputs, *[None] * (len(INPUTS) - len(inputs))], strict=True))
    for name in ("X", "W", "R"):
        if given[name] is None:
            raise InputError(f"{owner}: input {name} is missing")
    X, W, R = (np.asarray(given[name]) for name in ("X", "W", "R"))
    ways = directions(owner, attributes, W, R, given["B"], given["P"])
    hidden, size = ways[0].cell.hidden_size, ways[0].cell.input_size
    batch_first = one_of(owner, "layout", attributes.get("layout", 0), (0, 1)) == 1

    x = _floats(owner, "X", X)
    axes = ("batch", "time") if batch_first else ("time", "batch")
    check_shape(owner, "X", x, (*axes, ("input_size", size)))
    x = x if batch_first else x.swapaxes(0, 1)
    batch, steps = x.shape[:2]
    lengths = np.full(batch, steps, np.int64)
    if given["sequence_lens"] is not None:
        lengths = integer_array(
            owner, "sequence_lens", given["sequence_lens"], (("batch", batch),), 0, steps
        )
    h, c = (
        _state(owner, name, given[name], batch_first, (len(ways), batch, hidden), x.dtype)
        for name in ("initial_h", "initial_c")
    )

    packing = engine.Packing(batch, steps, lengths, engine.empty)
    packed = packing.pack(x)
    calls = []
    for d, way in enumerate(ways):
        weights = {name: w.astype(x.dtype, copy=False) for name, w in way.weights.items()}
        seen = packing.mirror(packed) if way.backwards else packed
        start = packing.sort(h[d]), packing.sort(c[d])
        calls.append((way.cell, weights, seen, start, packing.sizes, None, engine.NO_MASKS, False))
    outputs, ends_h, ends_c = [], [], []
    for way, (y, (end_h, end_c), _) in zip(ways, engine.forward_all(calls), strict=True):
        outputs.append(packing.unpack(packing.mirror(y) if way.backwards else y))
        ends_h.append(packing.unsort(end_h))
        ends_c.append(packing.unsort(end_c))
    Y = np.stack(outputs, axis=2)  # (N, T, D, H)
    Y_h, Y_c = np.stack(ends_h), np.stack(ends_c)
    Y_h[:, lengths == 0] = 0
    Y_c[:, lengths == 0] = 0
    if batch_first:
        Y_h, Y_c = Y_h.swapaxes(0, 1), Y_c.swapaxes(0, 1)
    else:
        Y = Y.transpose(1, 2, 0, 3)
    return Y.astype(X.dtype), Y_h.astype(X.dtype), Y_c.astype(X.dtype)


# ------------------------------------------------------------------------------- the parts of it


def _check_attributes(owner: str, attributes: Mapping[str, Any]) -> None:
    unknown = sorted(set(attributes) - ATTRIBUTES)
    if unknown:
        raise InputError(
            f"{owner}: attribute {unknown[0]!r:.60} is unknown; expected "
            f"{', '.join(sorted(ATTRIBUTES))}"
        )


def _text(attributes: Mapping[str, Any], name: str) -> Any:
    return attributes.get(name, "forward")


def _clip(owner: str, clip: Any) -> float | None:
    """Bound of the gates; ONNX has no clip where the attribute is missing or infinite."""
    if clip is None or clip == math.inf:
        return None
    if isinstance(clip, bool) or not isinstance(clip, float | int) or not clip > 0:
        raise InputError(f"{owner}: clip is {clip!r}; expected a number above 0")
    return float(clip)


def _activations(
    owner: str, attributes: Mapping[str, Any], count: int
) -> list[tuple[Any, Any, Any]]:
    """Return three functions a direction; alpha and beta go in order to those that take one."""
    names = attributes.get("activations") or DEFAULT_ACTIVATIONS * count
    numbers = []
    for name in ("activation_alpha", "activation_beta"):
        values = attributes.get(name) or ()
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise InputError(f"{owner}: {name} is {values!r:.60}; expected a list of numbers")
        numbers.append(iter(values))
    if isinstance(names, str) or not isinstance(names, Sequence) or len(names) != 3 * count:
        raise InputError(
            f"{owner}: activations is {names!r:.200}; expected {3 * count} names, f, g and h of "
            "each direction"
        )
    functions: list[Any] = []
    for name in names:
        if not isinstance(name, str) or name.lower() not in FUNCTIONS:
            raise InputError(
                f"{owner}: activation {name!r:.60} is unknown; expected one of "
                f"{', '.join(FUNCTIONS)} (in any case)"
            )
        ours, *defaults = FUNCTIONS[name.lower()]
        taken = [default for default in defaults if default is not None]
        given = [
            float(next(source, default))
            for source, default in zip(numbers, defaults, strict=True)
            if default is not None
        ]
        # Files hold float32: 0.2 comes back as 0.200000003, and is the default all the same.
        usual = [np.float32(number) for number in given] == [np.float32(n) for n in taken]
        functions.append(ours if usual else (ours, *given))
    return [tuple(functions[3 * d : 3 * d + 3]) for d in range(count)]


def _blocks(stacked: Array, order: Sequence[int]) -> Array:
    """Take the blocks of four stacked gates in our order; a copy."""
    blocks = stacked.reshape(4, len(stacked) // 4, *stacked.shape[1:])[list(order)]
    return np.ascontiguousarray(blocks.reshape(-1, *stacked.shape[1:]))


def _floats(owner: str, name: str, array: Array) -> Array:
    """Return float32 or float64; floats of 16 bits (bfloat16 too, of whatever package) widened."""
    if array.dtype == np.float32 or array.dtype == np.float64:
        return array
    if array.dtype == np.float16 or array.dtype.name == "bfloat16":
        return array.astype(np.float32)
    raise InputError(f"{owner}: {name} has dtype {array.dtype}; expected floating-point numbers")


def _state(
    owner: str,
    name: str,
    given: Array | None,
    batch_first: bool,
    shape: tuple[int, int, int],
    dtype: Any,
) -> Array:
    """Return the initial h or c as (D, N, H) of the given dtype; zeros where it is missing."""
    if given is None:
        return np.zeros(shape, dtype)
    state = _floats(owner, name, given)
    count, batch, hidden = (
        ("num_directions", shape[0]),
        ("batch", shape[1]),
        ("hidden_size", shape[2]),
    )
    check_shape(
        owner, name, state, (batch, count, hidden) if batch_first else (count, batch, hidden)
    )
    return (state.swapaxes(0, 1) if batch_first else state).astype(dtype, copy=False)
