"""The operators that exporters put around an LSTM: each a function of arrays.

A function takes the call (the node and the room that is left for results) and the node's inputs,
None where one is missing, and gives one array or a tuple. What could grow out of small inputs asks
for room before it is made. Source: https://onnx.ai/onnx/operators/, with the older opsets' forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lstmkit.formats.onnx.graph import Node
from lstmkit.formats.onnx.node import run_lstm
from lstmkit.formats.onnx.tensors import DTYPES
from lstmkit.shapes import Array, InputError

Given = Array | None
Result = Any  # an array, or a tuple of them


class Room:
    """How many bytes of results may still be made, and how much work done (about 1 ns each)."""

    def __init__(self, left: int, work: int = 2**62) -> None:
        self.left, self.left_work = left, work

    def work(self, amount: int) -> None:
        """Ask for time."""
        self.left_work -= amount
        if self.left_work < 0:
            raise InputError("it takes more work than the limit allows")

    def take(self, shape: Sequence[int], itemsize: int = 8) -> None:
        """Ask for an array; its numbers must be whole and not negative."""
        if any(size < 0 for size in shape):
            raise InputError(f"a size of {tuple(shape)} is negative")
        self.left -= math.prod(int(size) for size in shape) * itemsize
        if self.left < 0:
            raise InputError(f"a result of shape {tuple(shape)} is larger than the limit allows")


class Call:
    """One node as its function sees it."""

    def __init__(self, node: Node, room: Room) -> None:
        self.node, self.room = node, room
        self.opset = node.opset

    def get(self, name: str, default: Any = None) -> Any:
        """Return an attribute."""
        return self.node.attributes.get(name, default)

    def numbers(self, name: str, given: Given) -> list[int] | None:
        """Return whole numbers that old opsets have as an attribute and new ones as an input."""
        value = self.get(name) if given is None else given
        if value is None:
            return None
        return [int(one) for one in np.asarray(value).ravel()]


# ---------------------------------------------------------------------------- element by element


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def _softplus(x: Array) -> Array:
    return np.asarray(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))


UNARY: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Exp": np.exp,
    "Floor": np.floor,
    "Log": np.log,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Reciprocal": np.reciprocal,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": _sigmoid,
    "Sign": np.sign,
    "Softplus": _softplus,
    "Softsign": lambda x: x / (1 + np.abs(x)),
    "Sqrt": np.sqrt,
    "Tanh": np.tanh,
}

PARAMETRIC: dict[str, tuple[Callable[..., Any], dict[str, float]]] = {
    "LeakyRelu": (lambda x, alpha: np.where(x >= 0, x, alpha * x), {"alpha": 0.01}),
    "Elu": (
        lambda x, alpha: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))),
        {"alpha": 1.0},
    ),
    "ThresholdedRelu": (lambda x, alpha: np.where(x > alpha, x, 0), {"alpha": 1.0}),
    "HardSigmoid": (
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
        {"alpha": 0.2, "beta": 0.5},
    ),
}


def _divide(a: Array, b: Array) -> Any:
    if a.dtype.kind in "iu":  # towards zero
        return (np.abs(a) // np.abs(b)) * (np.sign(a) * np.sign(b))
    return a / b


BINARY: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "And": np.logical_and,
    "Div": _divide,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Or": np.logical_or,
    "Pow": lambda a, b: np.power(a, b).astype(a.dtype),
    "Sub": np.subtract,
    "Xor": np.logical_xor,
}

VARIADIC: dict[str, Callable[..., Any]] = {
    "Max": np.maximum,
    "Min": np.minimum,
    "Sum": np.add,
    "Mean": np.add,
}

REDUCTIONS: dict[str, Callable[..., Any]] = {
    "ReduceMax": np.max,
    "ReduceMean": np.mean,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
}


def _binary(call: Call, a: Array, b: Array) -> Result:
    if call.opset < 7 and call.get("broadcast") and a.ndim > b.ndim:
        # Of opsets 1 to 6: b's axes begin at ``axis`` of a, or are a's last.
        axis = call.get("axis", a.ndim - b.ndim)
        b = b.reshape(b.shape + (1,) * (a.ndim - b.ndim - axis))
    call.room.take(np.broadcast_shapes(a.shape, b.shape), max(a.itemsize, b.itemsize))
    return BINARY[call.node.op](a, b)


def _variadic(call: Call, *given: Array) -> Result:
    total = given[0]
    for array in given[1:]:
        call.room.take(np.broadcast_shapes(total.shape, array.shape), total.itemsize)
        total = VARIADIC[call.node.op](total, array)
    return total / len(given) if call.node.op == "Mean" else total


def _reduce(call: Call, x: Array, axes: Given = None) -> Result:
    chosen = call.numbers("axes", axes)
    if not chosen:
        if call.get("noop_with_empty_axes", 0):
            return x
        chosen = list(range(x.ndim))
    reduced = REDUCTIONS[call.node.op](
        x, axis=tuple(chosen), keepdims=bool(call.get("keepdims", 1))
    )
    return np.asarray(reduced).astype(x.dtype)


def _where(call: Call, condition: Array, a: Array, b: Array) -> Result:
    call.room.take(np.broadcast_shapes(condition.shape, a.shape, b.shape), a.itemsize)
    return np.where(condition, a, b)


def _clip(call: Call, x: Array, low: Given = None, high: Given = None) -> Result:
    least = call.get("min") if low is None else low
    most = call.get("max") if high is None else high
    if least is not None:
        x = np.maximum(x, np.asarray(least, x.dtype))
    return x if most is None else np.minimum(x, np.asarray(most, x.dtype))


def _softmax(call: Call, x: Array) -> Result:
    """From opset 13 along one axis; before it over all axes from ``axis`` on."""
    flat = x
    if call.opset < 13:
        axis = call.get("axis", 1)
        flat = x.reshape(math.prod(x.shape[:axis]), -1) if x.size else x
        along = -1
    else:
        along = call.get("axis", -1)
    if not x.size:
        return x
    shifted = flat - flat.max(axis=along, keepdims=True)
    total = np.exp(shifted).sum(axis=along, keepdims=True)
    if call.node.op == "LogSoftmax":
        return (shifted - np.log(total)).reshape(x.shape)
    return (np.exp(shifted) / total).reshape(x.shape)


def _cast(call: Call, x: Array) -> Result:
    to = call.get("to")
    if isinstance(to, str):  # before opset 6
        to = next((code for code, (name, _) in DTYPES.items() if name.upper() == to.upper()), 1)
    if to not in DTYPES:
        raise InputError(f"it casts to type {to}, which is not one of an LSTM's")
    return x.astype(DTYPES[to][1])


def _dropout(call: Call, x: Array, ratio: Given = None, training: Given = None) -> Result:
    if training is not None and bool(training):
        raise InputError("it asks for dropout in training; export the model for inference")
    return x, np.ones(x.shape, bool)


# ------------------------------------------------------------------------------- shapes and places


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise InputError(f"axis is {axis}; expected {-rank} to {rank - 1}")
    return axis % rank


def _shape(call: Call, x: Array) -> Result:
    return np.array(x.shape[call.get("start", 0) : call.get("end")], np.int64)


def _reshape(call: Call, x: Array, shape: Given = None) -> Result:
    sizes = call.numbers("shape", shape) or []
    if not call.get("allowzero", 0):
        sizes = [x.shape[k] if size == 0 else size for k, size in enumerate(sizes)]
    return x.reshape(sizes)


def _flatten(call: Call, x: Array) -> Result:
    axis = call.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _squeeze(call: Call, x: Array, axes: Given = None) -> Result:
    chosen = call.numbers("axes", axes)
    return np.squeeze(x, None if chosen is None else tuple(chosen))


def _unsqueeze(call: Call, x: Array, axes: Given = None) -> Result:
    return np.expand_dims(x, tuple(call.numbers("axes", axes) or ()))


def _transpose(call: Call, x: Array) -> Result:
    return np.transpose(x, call.get("perm"))


def _expand(call: Call, x: Array, shape: Array) -> Result:
    sizes = np.broadcast_shapes(x.shape, tuple(int(size) for size in shape))
    call.room.take(sizes, x.itemsize)
    return np.broadcast_to(x, sizes)


def _tile(call: Call, x: Array, repeats: Array) -> Result:
    times = [int(one) for one in repeats]
    if len(times) != x.ndim:
        raise InputError(f"repeats has {len(times)} numbers; expected {x.ndim}")
    call.room.take([a * b for a, b in zip(x.shape, times, strict=True)], x.itemsize)
    return np.tile(x, times)


def _concat(call: Call, *given: Array) -> Result:
    call.room.take((sum(array.size for array in given),), max(a.itemsize for a in given))
    axis = call.get("axis", 1)  # an attribute that must be there from opset 4 on
    return np.concatenate(given, axis=_axis(axis, given[0].ndim))


def _split(call: Call, x: Array, sizes: Given = None) -> Result:
    axis = _axis(call.get("axis", 0), x.ndim)
    parts = call.numbers("split", sizes)
    if parts is None:
        count = call.get("num_outputs", len(call.node.outputs))
        if not 0 < count <= max(1, len(call.node.outputs)):
            raise InputError(f"num_outputs is {count}; it has {len(call.node.outputs)} outputs")
        each = -(-x.shape[axis] // count)
        parts = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
    if sum(parts) != x.shape[axis] or min(parts) < 0:
        raise InputError(f"split is {parts}; expected parts of {x.shape[axis]}")
    return tuple(np.split(x, np.cumsum(parts)[:-1], axis))


def _slice(
    call: Call,
    x: Array,
    starts: Given = None,
    ends: Given = None,
    axes: Given = None,
    steps: Given = None,
) -> Result:
    begin, end = call.numbers("starts", starts) or [], call.numbers("ends", ends) or []
    chosen = call.numbers("axes", axes) or list(range(len(begin)))
    strides = call.numbers("steps", steps) or [1] * len(begin)
    where = [slice(None)] * x.ndim
    for axis, first, last, stride in zip(chosen, begin, end, strides, strict=True):
        size = x.shape[_axis(axis, x.ndim)]
        # A negative stop that still lies before the first element means "down to the first".
        stop = None if stride < 0 and last < -size else last
        where[axis] = slice(first, stop, stride)
    return x[tuple(where)]


def _gather(call: Call, x: Array, indices: Array) -> Result:
    axis = _axis(call.get("axis", 0), x.ndim)
    call.room.take((*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]), x.itemsize)
    return np.take(x, indices.astype(np.int64), axis=axis)


def _gather_elements(call: Call, x: Array, indices: Array) -> Result:
    return np.take_along_axis(x, indices.astype(np.int64), _axis(call.get("axis", 0), x.ndim))


def _gather_nd(call: Call, x: Array, indices: Array) -> Result:
    if call.get("batch_dims", 0):
        raise InputError("batch_dims is not 0, which is not supported")
    if indices.shape[-1] > x.ndim:
        raise InputError(f"indices has shape {indices.shape}; expected at most {x.ndim} a row")
    call.room.take((*indices.shape[:-1], *x.shape[indices.shape[-1] :]), x.itemsize)
    return x[tuple(np.moveaxis(indices, -1, 0))]


def _pad(
    call: Call, x: Array, pads: Given = None, value: Given = None, axes: Given = None
) -> Result:
    mode = call.get("mode", "constant")
    widths = call.numbers("pads", pads) or call.numbers("paddings", None) or []
    chosen = call.numbers("axes", axes) or list(range(x.ndim))
    if len(widths) != 2 * len(chosen) or mode not in ("constant", "edge", "reflect"):
        raise InputError(f"pads has {len(widths)} numbers, mode is {mode!r:.30}")
    if min(widths, default=0) < 0:
        raise InputError("pads is negative, which is not supported")
    both = [(0, 0)] * x.ndim
    for k, axis in enumerate(chosen):
        both[axis] = widths[k], widths[k + len(chosen)]
    call.room.take([size + sum(w) for size, w in zip(x.shape, both, strict=True)], x.itemsize)
    if mode != "constant":
        return np.pad(x, both, mode=mode)
    fill = call.get("value", 0) if value is None else value
    return np.pad(x, both, constant_values=np.asarray(fill, x.dtype).reshape(()))


def _reverse_sequence(call: Call, x: Array, lengths: Array) -> Result:
    time, batch = call.get("time_axis", 0), call.get("batch_axis", 1)
    turned = np.array(np.moveaxis(x, (batch, time), (0, 1)))
    for row, length in zip(turned, lengths, strict=True):
        row[: int(length)] = row[: int(length)][::-1].copy()
    return np.moveaxis(turned, (0, 1), (batch, time))


# ------------------------------------------------------------------------------------ new arrays


def _constant(call: Call) -> Result:
    for name, dtype in (("value", None), ("value_float", np.float32), ("value_int", np.int64),
                        ("value_floats", np.float32), ("value_ints", np.int64)):  # fmt: skip
        value = call.get(name)
        if value is not None:
            return np.asarray(value, dtype)
    raise InputError("its value is of a kind that is not for LSTMs")


def _constant_of_shape(call: Call, shape: Array) -> Result:
    value = np.asarray(call.get("value", np.zeros(1, np.float32)))
    sizes = [int(size) for size in shape]
    call.room.take(sizes, value.itemsize)
    return np.full(sizes, value.reshape(()), value.dtype)


def _range(call: Call, start: Array, limit: Array, delta: Array) -> Result:
    first, last, step = (array.reshape(()).item() for array in (start, limit, delta))
    call.room.take((max(0, math.ceil((last - first) / step)),), start.itemsize)
    made: Array = np.arange(first, last, step, dtype=start.dtype)
    return made


def _one_hot(call: Call, indices: Array, depth: Array, values: Array) -> Result:
    classes = int(depth.reshape(-1)[0])
    call.room.take((*indices.shape, max(classes, 0)), values.itemsize)
    tokens = indices.astype(np.int64)
    hit = np.where(tokens < 0, tokens + classes, tokens)[..., None] == np.arange(classes)
    made = np.where(hit, values[1], values[0]).astype(values.dtype)
    return np.moveaxis(made, -1, call.get("axis", -1))


# --------------------------------------------------------------------------------------- products


def _matmul(call: Call, a: Array, b: Array) -> Result:
    rows, columns = a.shape[-2:-1], b.shape[-1:] if b.ndim > 1 else ()
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    call.room.take((*leading, *rows, *columns), a.itemsize)
    call.room.work(math.prod((*leading, *rows, *columns)) * a.shape[-1] // 8)
    return np.matmul(a, b)


def _gemm(call: Call, a: Array, b: Array, c: Given = None) -> Result:
    a = a.T if call.get("transA", 0) else a
    b = b.T if call.get("transB", 0) else b
    call.room.take((a.shape[0], b.shape[1]), a.itemsize)
    call.room.work(a.shape[0] * b.size // 8)
    y = call.get("alpha", 1.0) * (a @ b)
    if c is not None:
        y = y + call.get("beta", 1.0) * c
    return y.astype(a.dtype)


def _batch_normalization(
    call: Call, x: Array, scale: Array, shift: Array, mean: Array, variance: Array
) -> Result:
    if call.get("training_mode", 0):
        raise InputError("it asks for training; export the model for inference")
    size = (-1,) + (1,) * (x.ndim - 2)
    factor = scale / np.sqrt(variance + call.get("epsilon", 1e-5))
    return ((x - mean.reshape(size)) * factor.reshape(size) + shift.reshape(size)).astype(x.dtype)


def _layer_normalization(call: Call, x: Array, scale: Array, shift: Given = None) -> Result:
    axes = tuple(range(_axis(call.get("axis", -1), x.ndim), x.ndim))
    mean = x.mean(axis=axes, keepdims=True)
    inverse = 1 / np.sqrt(
        ((x - mean) ** 2).mean(axis=axes, keepdims=True) + call.get("epsilon", 1e-5)
    )
    y = (x - mean) * inverse * scale
    y = y if shift is None else y + shift
    return y.astype(x.dtype), mean.astype(x.dtype), inverse.astype(x.dtype)


def _arg_max(call: Call, x: Array) -> Result:
    axis, keep = _axis(call.get("axis", 0), x.ndim), bool(call.get("keepdims", 1))
    if call.get("select_last_index", 0):
        return x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis, keepdims=keep)
    return np.argmax(x, axis=axis, keepdims=keep)


def _cum_sum(call: Call, x: Array, axis: Array) -> Result:
    along = _axis(int(axis.reshape(())), x.ndim)
    x = np.flip(x, along) if call.get("reverse", 0) else x
    total = np.cumsum(x, axis=along, dtype=x.dtype)
    total = total - x if call.get("exclusive", 0) else total
    return np.flip(total, along) if call.get("reverse", 0) else total


def _lstm(call: Call, *given: Given) -> Result:
    x, r = given[0], given[2] if len(given) > 2 else None
    if x is not None and r is not None and r.ndim == 3:  # y, and the gates of every step
        call.room.take((*x.shape[:2], *r.shape[:2], 2), 8)
        call.room.work(math.prod(x.shape[:2]) * r.size * (1 + x.shape[-1] // r.shape[2]) // 8)
    return run_lstm(str(call.node), call.node.attributes, given)


OPERATORS: dict[str, Callable[..., Result]] = {
    **{name: lambda call, x, f=f: f(x) for name, f in UNARY.items()},
    **{
        name: lambda call, x, f=f, numbers=numbers: np.asarray(
            f(x, **{key: call.get(key, value) for key, value in numbers.items()})
        ).astype(x.dtype)
        for name, (f, numbers) in PARAMETRIC.items()
    },
    **dict.fromkeys(BINARY, _binary),
    **dict.fromkeys(VARIADIC, _variadic),
    **dict.fromkeys(REDUCTIONS, _reduce),
    "ArgMax": _arg_max,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "CastLike": lambda call, x, like: x.astype(like.dtype),
    "Clip": _clip,
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "CumSum": _cum_sum,
    "Dropout": _dropout,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "Gemm": _gemm,
    "Identity": lambda call, x: x,
    "LSTM": _lstm,
    "LayerNormalization": _layer_normalization,
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "OneHot": _one_hot,
    "Pad": _pad,
    "Range": _range,
    "Reshape": _reshape,
    "ReverseSequence": _reverse_sequence,
    "Shape": _shape,
    "Size": lambda call, x: np.array(x.size, np.int64),
    "Slice": _slice,
    "Softmax": _softmax,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tile": _tile,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
"""By ONNX's names. `If`, `Loop` and `Scan` hold graphs: they are the interpreter's."""

VIEWS = {"Identity", "Reshape", "Shape", "Size", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators that look at an array and do not go through it."""


def compute(node: Node, inputs: Sequence[Given], room: Room) -> list[Array]:
    """Compute a node.

    Raises
    ------
    InputError
        If the operator is unknown, or its inputs are not such as it takes; it names the node.
    """
    function = OPERATORS.get(node.op) if not node.domain else None
    if function is None:
        raise InputError(f"{node}: operator {node.op!r:.60} is not supported")
    try:
        if node.op not in VIEWS:
            room.work(sum(array.size for array in inputs if array is not None))
        with np.errstate(all="ignore"):
            result = function(Call(node, room), *inputs)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(str(node)) else f"{node}: {text}") from None
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as error:
        why = " ".join(str(error).split())
        raise InputError(f"{node}: its inputs do not fit ({why:.200})") from None
    arrays = [np.asarray(one) for one in (result if isinstance(result, tuple) else (result,))]
    for array in arrays:
        if array.base is None:
            room.take(array.shape, array.itemsize)
    return arrays
