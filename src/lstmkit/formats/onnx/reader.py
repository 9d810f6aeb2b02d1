"""An ONNX file to a model of ours: its LSTM layers, with the embedding and the heads around them.

The graph is followed from its inputs to its outputs (walk.py, rules.py); the links on the way to
the output become layers (links.py); and the model is held against the graph on a small random
input before it is given away. The model is batch first, whatever the graph is.

A file of ours says itself what its model is (claim.py); then the graph is not followed, but held
against that model alone (ours.py).
"""

from __future__ import annotations

import os

import numpy as np

from lstmkit import shapes
from lstmkit.formats.base import Contents, Model
from lstmkit.formats.onnx import ours
from lstmkit.formats.onnx.graph import File, open_file
from lstmkit.formats.onnx.links import Link, build
from lstmkit.formats.onnx.rules import RULES, shown
from lstmkit.formats.onnx.walk import FLOW, SIZES, STATES, UNKNOWN, Value, Walk
from lstmkit.shapes import Array, InputError

MOST_LINES = 50  # of what was not understood
TOLERANCE = {
    "float16": 2e-2,
    "float32": 1e-4,
    "float64": 1e-9,
}  # between the model and the graph, of the largest
PathLike = str | os.PathLike[str]


def load(path: PathLike) -> Model:
    """Return the model in a file.

    Parameters
    ----------
    path
        An ONNX file. Weights in files beside it are read from its own folder alone. Nothing in it
        is run but the operators that are known here.

    Returns
    -------
    LSTM or Sequential
        An `LSTM` where the graph is nothing but LSTM layers that fit one; batch first.

    Raises
    ------
    InputError
        If the file is not ONNX, damaged, or has no LSTM layers that can be read; one line.
    OSError
        As `open` raises it.
    """
    contents = read(path)
    if contents.model is None:
        why = shapes.shown(contents.left_over[0] if contents.left_over else "there is no LSTM node")
        raise InputError(f"onnx.load: {os.fspath(path)!r} has no LSTM that can be read: {why}")
    return contents.model


def read(path: PathLike) -> Contents:
    """Return the model, and what the file says of itself; see `load`.

    ``left_over`` names the nodes, outputs and tensors that the model does not have.
    """
    file = open_file(path)
    with np.errstate(all="ignore"):  # the numbers of a file may be any
        return _contents(file)


def _contents(file: File) -> Contents:
    left_over = [*file.graph.unread, *(f"function {name!r}: not read" for name in file.functions)]
    facts = [
        ("producer", file.producer or "unknown"),
        ("ir version", str(file.ir_version)),
        ("opset", ", ".join(_opset(domain, version) for domain, version in file.opsets.items())),
        *(("input", str(one)) for one in file.graph.inputs if one.name not in file.graph.constants),
        *(("output", str(one)) for one in file.graph.outputs),
    ]
    model, refused = ours.read(file)
    if model is not None:
        return Contents("ONNX", model, facts + ours.facts(file), file.arrays, _lines(left_over))
    walk = Walk(file, RULES)
    try:
        walk, scope = _walk(file)
        main, name = _main(walk, [(o.name, scope.get(o.name, Value())) for o in file.graph.outputs])
        if main is not None and main.link is not None:
            model = build(main.link, main.turned)
            left_over += _check(walk, main, model, scope)
            facts += _facts(walk, main, name)
            left_over += _branches(walk, main.link, file, scope, name)
    except InputError as error:
        model, left_over = None, [str(error), *left_over]
    except MemoryError:
        model, left_over = None, ["the graph takes more memory than there is"]
    except (ArithmeticError, LookupError, TypeError, ValueError):
        model, left_over = None, ["what was read of the graph makes no layers that fit", *left_over]
    left_over += walk.unknown
    if model is not None and any(line.startswith(DIFFERS) for line in left_over):
        model = None
        left_over.sort(key=lambda line: not line.startswith(DIFFERS))
    return Contents("ONNX", model, facts, file.arrays, _lines([*refused, *left_over]))


def _lines(left_over: list[str]) -> list[str]:
    """Return lines that can be shown: not too many, none too long."""
    if len(left_over) > MOST_LINES:
        left_over = [*left_over[:MOST_LINES], f"and {len(left_over) - MOST_LINES} more"]
    return [" ".join(line.split())[:300] for line in left_over]


def _walk(file: File) -> tuple[Walk, dict[str, Value]]:
    """Walk through the graph, once more with other sizes where the first ones do not fit it.

    Exporters write a size that they saw into a Reshape, though they name the axis as free; what the
    outputs say of their shapes shows it.
    """
    walk = Walk(file, RULES)
    scope = walk.run()
    outputs = [scope.get(one.name, Value()) for one in file.graph.outputs]
    fixed = {size for one in file.graph.outputs[:1] for size in (one.shape or ())[:2]}
    numbers = sorted(size for size in fixed if isinstance(size, int) and 1 < size < 1000)
    for size in numbers if walk.links and not any(value.link for value in outputs) else []:
        for sizes in ((size, *SIZES[1:]), (SIZES[0], size, *SIZES[2:])):
            other = Walk(file, RULES, sizes)
            found = other.run()
            if any(found.get(one.name, Value()).link for one in file.graph.outputs):
                return other, found
    return walk, scope


DIFFERS = "the layers that were read do not give what the graph gives"


def _opset(domain: str, version: int) -> str:
    return f"{domain} {version}" if domain else str(version)


def _main(walk: Walk, outputs: list[tuple[str, Value]]) -> tuple[Value | None, str]:
    """Return the value that the model gives: the first output that comes out of an LSTM."""
    for kind in (FLOW, STATES):
        for name, value in outputs:
            flow = shown(value) if value.kind == kind else None
            if flow is not None and flow.link is not None and _has_lstm(flow.link):
                return flow, name
    deepest: Link | None = None
    for link in walk.links:
        if _has_lstm(link) and (deepest is None or len(link.chain()) >= len(deepest.chain())):
            deepest = link
    return (None, "") if deepest is None else (Value(FLOW, None, deepest), "")


def _has_lstm(link: Link) -> bool:
    return any(one.kind == "lstm" for one in link.chain())


def _facts(walk: Walk, main: Value, name: str) -> list[tuple[str, str]]:
    """Say which of the graph's inputs and outputs are the model's, and how they lie."""
    assert main.link is not None
    source = main.link.source.name
    facts = [("reads", f"{source}{' (time first; here batch first)' if _time_first(walk) else ''}")]
    if walk.states:
        facts.append(("state", ", ".join(walk.states)))
    return [*facts, ("gives", name or "the output of the last layer that was understood")]


def _time_first(walk: Walk) -> bool:
    """Whether time is the first axis of the graph's input."""
    return bool(walk.time and walk.time.endswith(".0"))


def _branches(walk: Walk, main: Link, file: File, scope: dict[str, Value], name: str) -> list[str]:
    """Name the layers and outputs beside the way to the main output."""
    chain = main.chain()
    path = {id(way) for link in chain for way in link.ways} | {id(link) for link in chain}
    path |= {id(link.weight) for link in chain if link.weight is not None}
    lines = [
        f"{link.name}: stands beside the chain that was read"
        for link in walk.links
        if id(link) not in path
        and id(link.weight) not in path
        and not any(id(way) in path for way in link.ways)
        and link.kind not in ("last", "activation")
    ]
    for output in file.graph.outputs:
        value = scope.get(output.name, Value())
        ours = value.kind == STATES and all(id(link.ways[d]) in path for link, _, d in value.items)
        if output.name == name or ours or (value.link is not None and id(value.link) in path):
            continue
        if value.kind != UNKNOWN or name:
            lines.append(f"output {output}: not given by the model")
    return lines


def _check(walk: Walk, main: Value, model: Model, scope: dict[str, Value]) -> list[str]:
    """Hold the model against the graph's own numbers, where all of them are known."""
    assert main.link is not None
    given = scope.get(main.link.source.name)
    if main.array is None or given is None or given.array is None or not walk.exact:
        return []
    x = _batch_first(walk, given.array, [base for axis in given.axes for base in axis])
    if x is None:
        return []
    y: Array = model(x)[0]
    theirs = main.array
    bases = [base for axis in main.axes for base in axis]
    expected = _batch_first(walk, theirs, bases)
    if not (np.isfinite(theirs).all() and np.isfinite(y).all()):
        return []  # nothing can be compared
    if expected is None or expected.size != y.size:
        return [f"{DIFFERS}: {theirs.shape} numbers, and {y.shape}"]
    difference = float(np.abs(expected.reshape(y.shape) - y).max(initial=0))
    scale = max(1.0, float(np.abs(y).max(initial=0)))
    tolerance = max(TOLERANCE.get(dtype.name, 1e-4) for dtype in (y.dtype, theirs.dtype))
    if not difference <= tolerance * scale:
        return [f"{DIFFERS}: the largest difference is {difference:.2g}"]
    return []


def _batch_first(walk: Walk, array: Array, bases: list[tuple[str, int]]) -> Array | None:
    """Bring an array to batch, time, directions, features; None where an axis is none of these."""
    rank = {walk.batch: 0, walk.time: 1, "D": 2, "F": 3}
    if any(label not in rank for label, _ in bases):
        return None
    parts = array.reshape([size for _, size in bases])
    order = sorted(range(len(bases)), key=lambda k: rank[bases[k][0]])
    moved = parts.transpose(order)
    here = {bases[k][0]: bases[k][1] for k in order}
    shape = [here.get(walk.batch, 1)] if walk.batch is not None else []
    if walk.time in here:
        shape.append(here[walk.time])
    features = [size for label, size in here.items() if label in ("D", "F")]
    return moved.reshape([*shape, int(np.prod(features))] if features else shape)
