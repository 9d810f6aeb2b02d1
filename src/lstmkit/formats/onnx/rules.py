"""What each operator does to a value that comes out of a layer: the patterns that exporters write.

A rule takes the walk, the node and its inputs, and gives the node's outputs, or None where it does
not understand them. PyTorch's exporters, tf2onnx and keras2onnx put Transpose, Squeeze, Reshape,
Unsqueeze, Slice, Split and Concat between layers; a head is Gemm, or MatMul and Add.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lstmkit.formats.onnx.axes import (
    DIRECTION,
    FEATURES,
    Axis,
    is_features,
    labels,
    regroup,
    size_of,
)
from lstmkit.formats.onnx.graph import Node
from lstmkit.formats.onnx.links import Link, Way
from lstmkit.formats.onnx.node import FUNCTIONS, directions
from lstmkit.formats.onnx.walk import FIXED, FLOW, GIVEN, SIZED, STATES, UNKNOWN, Value, Walk
from lstmkit.shapes import Array, InputError

Given = list[Value | None]
Found = list[Value] | None


def constant(value: Value | None) -> Array | None:
    """Return the array of a constant, else None."""
    return value.array if value is not None and value.kind in (FIXED, SIZED) else None


def shown(value: Value | None) -> Value | None:
    """Return a value as what a layer gives; final states h are a layer's last step."""
    if value is None or value.kind == FLOW:
        return value
    if value.kind != STATES or value.array is None:
        return None
    link, which, _ = value.items[0]
    if value.items != [(link, "h", d) for d in range(len(link.ways))] or which != "h":
        ways = [one.ways[d] for one, _, d in value.items]
        alike = all(one.parent is link.parent and w == "h" for one, w, _ in value.items)
        if not alike or len(ways) > 2:
            return None
        link = replace(link, ways=ways)
    return Value(FLOW, value.array, link.with_last(), value.axes)


def _has_axes(value: Value) -> bool:
    """Whether it is known what each axis is; of what is not a layer's, it is not."""
    return value.array is not None and len(value.axes) == value.array.ndim


def features(value: Value | None) -> Value | None:
    """Return the output of a layer whose last axis is the features, else None."""
    value = shown(value)
    if value is None or value.link is None or not value.axes or not is_features(value.axes[-1]):
        return None
    return value


# -------------------------------------------------------------------------------- the LSTM itself


def lstm(walk: Walk, node: Node, given: Given) -> Found:
    """Make a link of an LSTM node whose weights are constants."""
    given = given + [None] * (8 - len(given))
    W, R, B, P = (constant(given[k]) for k in (1, 2, 3, 7))
    if W is None or R is None or (given[3] and B is None) or (given[7] and P is None):
        return None
    found = directions(str(node), _shortened(node.attributes, W), W, R, B, P)
    size, hidden = found[0].cell.input_size, found[0].cell.hidden_size
    batch_first = node.attributes.get("layout", 0) == 1
    x = shown(given[0])
    if x is None or x.array is None or x.array.ndim != 3 or x.array.shape[2] != size:
        # It reads what was not understood, and is where a chain begins.
        if given[0] is not None and given[0].kind == GIVEN:
            walk.unknown.append(f"{node}: what makes its input of the graph's is not understood")
        walk.exact = False
        source = Link("input", None, node.inputs[0])
        shape = (3, 5, size) if batch_first else (5, 3, size)
        axes: list[Axis] = [((f"{source.name}.{k}", shape[k]),) for k in (0, 1)]
        x = Value(FLOW, np.zeros(shape, W.dtype), source, [*axes, ((FEATURES, size),)])
        walk.time = walk.batch = None
    if not is_features(x.axes[2]) or x.link is None or x.array is None:
        return None
    names = [axis[0][0] if axis else "" for axis in x.axes[:2]]
    batch, time = names if batch_first else names[::-1]
    if max(len(axis) for axis in x.axes[:2]) > 1 or (walk.time or time) != time:
        raise InputError(f"{node}: time is another axis than in the layer before it")
    walk.time, walk.batch = time, batch

    rows, steps = x.array.shape[:2] if batch_first else x.array.shape[1::-1]
    if given[4] is not None and given[4].kind != FLOW:
        lengths = constant(given[4])
        if lengths is None:
            raise InputError(f"{node}: what makes its sequence_lens is not understood")
        if not (lengths == steps).all():
            raise InputError(f"{node}: its sequence_lens are constants below the whole length")
    starts = [_start(node, given[k], len(found), batch_first) for k in (5, 6)]
    for state in given[5:7]:
        if state is not None and state.link is not None and state.link.name not in walk.states:
            walk.states.append(state.link.name)
    ways = [
        Way(
            direction._replace(backwards=direction.backwards != x.turned),
            *(None if start is None else start[d] for start in starts),
        )
        for d, direction in enumerate(found)
    ]
    link = walk.add(Link("lstm", x.link, str(node), ways))
    count = len(ways)
    numbers = walk.probe(node, [x, *given[1:4], None, *_probed(given[5:7]), given[7]], 3)
    if numbers[0] is None:
        walk.exact = False
        shapes = [(rows, count, hidden) if batch_first else (count, rows, hidden)] * 2
        y = (rows, steps, count, hidden) if batch_first else (steps, count, rows, hidden)
        numbers = [np.broadcast_to(np.zeros((), W.dtype), shape) for shape in (y, *shapes)]
    one, row = ((DIRECTION, count),), x.axes[0 if batch_first else 1]
    last: Axis = ((FEATURES, hidden),)
    step = x.axes[1 if batch_first else 0]
    y_axes = [row, step, one, last] if batch_first else [step, one, row, last]
    values = [Value(FLOW, numbers[0], link, y_axes, x.turned)]
    for which, array in zip("hc", numbers[1:], strict=False):
        items = [(link, which, d) for d in range(count)]
        axes = [row, one, last] if batch_first else [one, row, last]
        values.append(Value(STATES, array, None, axes, items=items))
    return values


def _shortened(attributes: dict[str, Any], weight: Array) -> dict[str, Any]:
    """Return single-precision numbers as they were written: 0.3, which a file has as 0.30000001."""
    if weight.dtype == np.float64:
        return attributes
    short = dict(attributes)
    for name in ("activation_alpha", "activation_beta", "clip"):
        value = attributes.get(name)
        if isinstance(value, float):
            short[name] = float(str(np.float32(value)))
        elif isinstance(value, list):
            short[name] = [float(str(np.float32(one))) for one in value]
    return short


def _probed(states: Given) -> Given:
    """Return the initial states that are constants; those of the graph's inputs are zeros here."""
    return [None if constant(state) is None else state for state in states]


def _start(node: Node, given: Value | None, count: int, batch_first: bool) -> Array | None:
    """Return a constant initial state (D, H), None for zeros or one that is an input."""
    state = constant(given)
    if state is None:
        if given is not None and given.kind == UNKNOWN:
            raise InputError(f"{node}: an initial state is not understood")
        return None
    rows = state if batch_first else state.swapaxes(0, 1)
    if rows.ndim != 3 or rows.shape[1] != count or not len(rows) or not rows.any():
        return None
    if (rows != rows[:1]).any():
        raise InputError(f"{node}: its constant initial state differs from row to row")
    first: Array = rows[0]
    return first


# ------------------------------------------------------------------------------------------ shapes


def same(walk: Walk, node: Node, given: Given) -> Found:
    """Identity, Cast, Dropout: nothing that a model keeps."""
    assert given[0] is not None
    if given[0].kind == UNKNOWN:
        return None
    return [given[0].seen(array) for array in walk.probe(node, given)[:1]]


def reshape(walk: Walk, node: Node, given: Given) -> Found:
    """Reshape, Flatten, Squeeze, Unsqueeze, and an Expand that repeats nothing."""
    value, array = given[0], walk.probe(node, given)[0]
    if value is None or array is None or value.kind == UNKNOWN:
        return None
    axes = regroup(value.axes, array.shape)
    return None if axes is None else [value.seen(array, axes)]


def transpose(walk: Walk, node: Node, given: Given) -> Found:
    """Transpose."""
    value, array = given[0], walk.probe(node, given)[0]
    if value is None or array is None or value.kind == UNKNOWN or not _has_axes(value):
        return None
    order = node.attributes.get("perm") or range(len(value.axes))[::-1]
    return [value.seen(array, [value.axes[k] for k in order])]


def gather(walk: Walk, node: Node, given: Given) -> Found:
    """Rows of an embedding; or one step, direction or layer of a layer's output."""
    table, where = given[0], given[1]
    array = walk.probe(node, given)[0]
    if array is None or table is None or where is None:
        return None
    if table.kind == FIXED and where.kind == FLOW and where.link is not None:
        weight = table.array
        if (
            weight is None
            or weight.ndim != 2
            or node.attributes.get("axis", 0)
            or where.link.parent
        ):
            return None
        link = walk.add(Link("embedding", where.link, str(node), weight=weight))
        return [Value(FLOW, array, link, [*where.axes, ((FEATURES, weight.shape[1]),)])]
    index = constant(where)
    if index is None or index.size != 1 or not _has_axes(table):
        return None
    axis = node.attributes.get("axis", 0) % len(table.axes)
    kept = [*table.axes[:axis], *[()] * index.ndim, *table.axes[axis + 1 :]]
    return _pick(walk, node, table, axis, int(index.reshape(-1)[0]), 1, array, kept)


def slice_(walk: Walk, node: Node, given: Given) -> Found:
    """Time turned around; or one step, direction or layer, or one direction's features."""
    value, array = given[0], walk.probe(node, given)[0]
    if value is None or array is None or value.kind == UNKNOWN or not _has_axes(value):
        return None
    changed = [k for k, axis in enumerate(value.axes) if size_of(axis) != array.shape[k]]
    # What it takes is seen in what it makes of the numbers of the places.
    for axis in changed if len(changed) <= 1 else []:
        first, count = _range(walk, node, given, axis)
        kept = [*value.axes[:axis], (), *value.axes[axis + 1 :]]
        return _pick(walk, node, value, axis, first, count, array, kept)
    if changed:
        return None
    turned = [
        k for k in range(array.ndim) if array.shape[k] > 1 and _range(walk, node, given, k)[0]
    ]
    if not turned:
        return [value.seen(array)]
    if len(turned) == 1 and [label for label, _ in value.axes[turned[0]]] == [
        _time(walk, value, turned[0])
    ]:
        return [value.seen(array, turned=not value.turned)]
    return None


def _time(walk: Walk, value: Value, axis: int) -> str | None:
    """Return the label of time; before the first LSTM a turned axis can be nothing else."""
    if walk.time is None and value.axes[axis]:
        return value.axes[axis][0][0]
    return walk.time


def _range(walk: Walk, node: Node, given: Given, axis: int) -> tuple[int, int]:
    """Return the first place that a Slice takes of an axis, and how many."""
    assert given[0] is not None
    shape = [1] * len(given[0].axes)
    shape[axis] = size_of(given[0].axes[axis])
    places = np.broadcast_to(
        np.arange(shape[axis]).reshape(shape), [size_of(one) for one in given[0].axes]
    )
    taken = walk.probe(node, [Value(FIXED, places), *given[1:]])[0]
    if taken is None or not taken.size:
        return 0, 0
    along = np.moveaxis(taken, axis, 0).reshape(taken.shape[axis], -1)[:, 0]
    return int(along[0]), len(along)


def split(walk: Walk, node: Node, given: Given) -> Found:
    """Both directions, or several layers' states, taken apart."""
    value = given[0]
    if value is None or value.kind == UNKNOWN or not _has_axes(value):
        return None
    axis = node.attributes.get("axis", 0) % len(value.axes)
    arrays = walk.probe(node, given, len(node.outputs))
    found, first = [], 0
    for array in arrays:
        if array is None:
            return None
        count = array.shape[axis]
        kept = [*value.axes[:axis], (), *value.axes[axis + 1 :]]
        part = _pick(walk, node, value, axis, first, count, array, kept)
        if part is None:
            return None
        found += part
        first += count
    return found


def _pick(
    walk: Walk,
    node: Node,
    value: Value,
    axis: int,
    first: int,
    count: int,
    array: Array,
    kept: list[Axis],
) -> Found:
    """Take ``count`` places of an axis, from ``first`` on; ``kept`` are the axes of one place."""
    group, size = value.axes[axis], size_of(value.axes[axis])
    first %= max(size, 1)
    if count == size:
        return [value.seen(array, regroup(value.axes, array.shape) or value.axes)]
    names = [label for label, _ in group]
    if value.kind == STATES and names == [DIRECTION]:
        items = value.items[first : first + count]
        if count > 1:
            kept = [*value.axes[:axis], ((DIRECTION, count),), *value.axes[axis + 1 :]]
        return [value.seen(array, kept, items=items)] if items else None
    link = value.link
    if value.kind != FLOW or link is None:
        return None
    if names == [walk.time] and count == 1:
        place = size - 1 - first if value.turned else first
        if link.kind == "lstm" and len(link.ways) == 1 and not link.last:
            end = 0 if link.ways[0].direction.backwards else size - 1
            if place == end:
                return [Value(FLOW, array, walk.add(link.with_last()), kept)]
        if place == size - 1:
            link = walk.add(Link("last", link, str(node)))
            return [Value(FLOW, array, link, kept)]
        return None
    if (
        link.kind == "lstm"
        and len(link.ways) == 2
        and names in ([DIRECTION], [DIRECTION, FEATURES])
    ):
        each = size // 2  # the places of one direction
        if count != each or first % each:
            return None
        link = walk.add(replace(link, ways=[link.ways[first // each]]))
        if len(names) == 2:
            kept = [*value.axes[:axis], (group[1],), *value.axes[axis + 1 :]]
        return [Value(FLOW, array, link, kept, value.turned)]
    return None


def reverse_sequence(walk: Walk, node: Node, given: Given) -> Found:
    """Time turned around, each sequence within its own length."""
    value, array = given[0], walk.probe(node, given)[0]
    lengths = given[1] if len(given) > 1 else None
    if value is None or value.kind != FLOW or array is None or lengths is None:
        return None
    axis = node.attributes.get("time_axis", 0)
    whole = constant(lengths)
    if whole is not None and not (whole == size_of(value.axes[axis])).all():
        return None
    if labels(value.axes[axis]) != (_time(walk, value, axis),):
        return None
    return [value.seen(array, turned=not value.turned)]


# ------------------------------------------------------------------------------ joined directions


def concat(walk: Walk, node: Node, given: Given) -> Found:
    """Two directions side by side; or the states of several layers."""
    values = [value for value in given if value is not None]
    array = walk.probe(node, given)[0]
    if array is None or not values or len({len(value.axes) for value in values}) != 1:
        return None
    axis = node.attributes.get("axis", 1) % max(len(values[0].axes), 1)
    if all(value.kind == STATES for value in values):
        first = values[0]
        stacked = all(labels(v.axes[axis]) in ((), (DIRECTION,)) for v in values)
        beside = all(labels(v.axes[axis]) == (FEATURES,) for v in values)
        items = [item for value in values for item in value.items]
        if not stacked and not (beside and len(items) == len(values)):
            return None
        group: Axis = ((DIRECTION, len(items)),) + (first.axes[axis] if beside else ())
        axes = [*first.axes[:axis], group, *first.axes[axis + 1 :]]
        return [first.seen(array, axes, items=items)]
    return _join(walk, node, [shown(value) for value in values], axis, "concat", array)


def _join(
    walk: Walk, node: Node, values: Given, axis: int | None, merge: str, array: Array
) -> Found:
    """Join two links that read the same; ``axis`` is that of the features when side by side."""
    if len(values) != 2 or values[0] is None or values[1] is None:
        return None
    one, two = values[0].link, values[1].link
    if one is None or two is None or one.kind != "lstm" or two.kind != "lstm":
        return None
    alike = one.parent is two.parent and one.last == two.last
    apart = len(one.ways) == len(two.ways) == 1 and values[0].turned == values[1].turned
    names = [[labels(a) for a in value.axes] for value in values if value is not None]
    if not (alike and apart and names[0] == names[1]):
        return None
    link = walk.add(replace(one, ways=[*one.ways, *two.ways], merge=merge, name=str(node)))
    axes = list(values[0].axes)
    if axis is not None:
        if labels(axes[axis]) not in ((FEATURES,), ()):
            return None
        axes[axis] = ((DIRECTION, 2), *axes[axis])
        if labels(axes[axis]) == (DIRECTION,) and not is_features(axes[-1]):
            return None
    return [Value(FLOW, array, link, axes, values[0].turned)]


# ------------------------------------------------------------------------------------------- heads


def _linear(
    walk: Walk, node: Node, x: Value, weight: Array, bias: Array | None, array: Array
) -> Found:
    assert x.link is not None
    link = walk.add(Link("linear", x.link, str(node), weight=weight, bias=bias))
    return [Value(FLOW, array, link, [*x.axes[:-1], ((FEATURES, len(weight)),)], x.turned)]


def matmul(walk: Walk, node: Node, given: Given) -> Found:
    """X W, with a constant W."""
    x, weight = features(given[0]), constant(given[1])
    array = walk.probe(node, given)[0]
    if x is None or weight is None or weight.ndim != 2 or array is None:
        return None
    return _linear(walk, node, x, weight.T, None, array)


def gemm(walk: Walk, node: Node, given: Given) -> Found:
    """Alpha x W + beta b, with constant W and b."""
    get = node.attributes.get
    x, weight = features(given[0]), constant(given[1])
    array = walk.probe(node, given)[0]
    if x is None or weight is None or weight.ndim != 2 or array is None or get("transA", 0):
        return None
    weight = (weight if get("transB", 0) else weight.T) * np.asarray(
        get("alpha", 1.0), weight.dtype
    )
    bias = constant(given[2]) if len(given) > 2 else None
    if len(given) > 2 and given[2] is not None:
        if bias is None or bias.size not in (1, len(weight)):
            return None
        bias = np.broadcast_to(bias.reshape(-1), (len(weight),))
        bias = bias * np.asarray(get("beta", 1.0), bias.dtype)
    return _linear(walk, node, x, weight, bias, array)


def add(walk: Walk, node: Node, given: Given) -> Found:
    """Take a bias after a product; or two directions added."""
    array = walk.probe(node, given)[0]
    if array is None:
        return None
    for x, other in (given, given[::-1]):
        x, bias = features(x), constant(other)
        if x is None or bias is None:
            continue
        link = x.link
        if link is None or link.kind != "linear" or link.weight is None:
            return None
        size = len(link.weight)
        if bias.size not in (1, size) or (bias.size > 1 and bias.shape[-1] != size):
            return None
        total = np.broadcast_to(bias.reshape(-1), (size,))
        total = total if link.bias is None else total + link.bias
        return [x.seen(array, link=walk.add(replace(link, bias=total)))]
    return _join(walk, node, [shown(value) for value in given], None, "sum", array)


def multiply(walk: Walk, node: Node, given: Given) -> Found:
    """Two directions multiplied; half of their sum; or a product with a number after a product."""
    array = walk.probe(node, given)[0]
    if array is None:
        return None
    for value, other in (given, given[::-1]) if node.op == "Mul" else (given,):
        x, factor = shown(value), constant(other)
        if x is None or x.link is None or factor is None or factor.size != 1:
            continue
        number = factor.reshape(()) if node.op == "Mul" else 1 / factor.reshape(())
        link = x.link
        if link.merge == "sum" and number == 0.5:
            return [x.seen(array, link=walk.add(replace(link, merge="ave")))]
        if link.kind != "linear" or link.weight is None:
            return None
        bias = None if link.bias is None else link.bias * number
        return [x.seen(array, link=walk.add(replace(link, weight=link.weight * number, bias=bias)))]
    if node.op == "Div":
        return None
    return _join(walk, node, [shown(value) for value in given], None, "mul", array)


def activation(walk: Walk, node: Node, given: Given) -> Found:
    """Take a function of every number."""
    x, array = shown(given[0]), walk.probe(node, given)[0]
    if x is None or x.link is None or x.link.parent is None or array is None:
        return None
    ours, *defaults = FUNCTIONS[node.op.lower()]
    numbers = [
        float(node.attributes.get(key, default))
        for key, default in zip(("alpha", "beta"), defaults, strict=True)
        if default is not None
    ]
    usual = [np.float32(n) for n in numbers] == [np.float32(d) for d in defaults if d is not None]
    function = ours if usual else (ours, *numbers)
    link = walk.add(Link("activation", x.link, str(node), function=function))
    return [x.seen(array, link=link)]


def softmax(walk: Walk, node: Node, given: Given) -> Found:
    """Softmax or LogSoftmax of the features."""
    x, array = features(given[0]), walk.probe(node, given)[0]
    if x is None or x.link is None or array is None:
        return None
    rank = len(x.axes)
    axis = node.attributes.get("axis", -1 if node.opset >= 13 else 1) % rank
    if axis != rank - 1:
        return None
    function = "log_softmax" if node.op == "LogSoftmax" else "softmax"
    link = walk.add(Link("activation", x.link, str(node), function=function))
    return [x.seen(array, link=link)]


Rule = Callable[[Walk, Node, Given], Found]
RULES: dict[str, Rule] = {
    **dict.fromkeys(("Identity", "Cast", "Dropout"), same),
    **dict.fromkeys(("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand"), reshape),
    **dict.fromkeys(("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "LeakyRelu"), activation),
    **dict.fromkeys(("Elu", "HardSigmoid", "ThresholdedRelu"), activation),
    **dict.fromkeys(("Softmax", "LogSoftmax"), softmax),
    "Add": add,
    "Concat": concat,
    "Div": multiply,
    "Gather": gather,
    "Gemm": gemm,
    "LSTM": lstm,
    "MatMul": matmul,
    "Mul": multiply,
    "ReverseSequence": reverse_sequence,
    "Slice": slice_,
    "Split": split,
    "Transpose": transpose,
}
"""By ONNX's names."""
