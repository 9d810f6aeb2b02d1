"""A walk through a graph that follows the values from its inputs through its layers.

Beside what each value *means* (a constant; the output of a layer, and which axis of it is time) the
walk computes what it *is* for a small random input. So a shape that a graph works out from its
input's shape is known, and the model that is built in the end can be held against the graph.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstmkit.formats.onnx.axes import Axis
from lstmkit.formats.onnx.graph import File, Graph, Named, Node
from lstmkit.formats.onnx.links import Link
from lstmkit.formats.onnx.operators import Room, compute
from lstmkit.shapes import Array, InputError

FIXED, SIZED, FLOW, STATES = "fixed", "sized", "flow", "states"
GIVEN, UNKNOWN = "given", "unknown"
SIZES = (3, 5, 7, 11, 13)  # of axes that are free: all different, so that a reshape can be followed
MOST_OF_INPUT = 2**20  # numbers; a larger one is zeros that take no room


@dataclass(eq=False)
class Value:
    """What is known of a value.

    ``kind`` is FIXED for a constant, SIZED for what follows from the input's sizes, FLOW for an
    input or what a layer makes of one, STATES for final states of layers, GIVEN for what something
    else makes of inputs, and else UNKNOWN.
    """

    kind: str = UNKNOWN
    array: Array | None = None
    link: Link | None = None
    axes: list[Axis] = field(default_factory=list)
    turned: bool = False  # whether time runs backwards
    items: list[tuple[Link, str, int]] = field(default_factory=list)  # states: link, h or c, which

    def seen(self, array: Array | None, axes: list[Axis] | None = None, **other: Any) -> Value:
        """Return the same value in another form."""
        return replace(self, array=array, axes=self.axes if axes is None else axes, **other)


Scope = MutableMapping[str, Value]


class Walk:
    """One walk; see the module's docstring. ``sizes`` are those of the axes that are free.

    Attributes
    ----------
    links : list of Link
        Every layer that was found.
    unknown : list of str
        Nodes that were not understood, a line each.
    exact : bool
        Whether every number is that of the graph; False where some had to be made up.
    time, batch : str or None
        Labels of the axes of the input, known from the first LSTM on.
    """

    def __init__(self, file: File, rules: Any, sizes: tuple[int, ...] = SIZES) -> None:
        self.file, self.rules, self.sizes = file, rules, sizes
        self.room = Room(4 * file.size + 2**24, 10**8 + 4 * file.size)
        self.links: list[Link] = []
        self.unknown: list[str] = []
        self.exact = True
        self.states: list[str] = []  # inputs of the graph that are initial states
        self.time: str | None = None
        self.batch: str | None = None
        self.rng = np.random.default_rng(0)
        self.input_size = _first_input_size(file.graph)
        self.free: dict[str, int] = {}

    def run(self) -> dict[str, Value]:
        """Walk through the whole graph and return its values by name."""
        scope: dict[str, Value] = {}
        for given in self.file.graph.inputs:
            if given.name not in self.file.graph.constants:
                scope[given.name] = self.input(given)
        self.graph(self.file.graph, scope)
        return scope

    # ------------------------------------------------------------------------------- what goes in

    def input(self, named: Named) -> Value:
        """Make up an input of the graph."""
        integer = named.dtype.startswith(("int", "uint"))
        if named.shape is None or named.dtype == "?":
            return Value()
        shape = []
        for k, size in enumerate(named.shape):
            if isinstance(size, int) and size > 0:
                shape.append(size)
            elif k and k == len(named.shape) - 1 and not integer:
                shape.append(self.input_size)
            else:
                label = size if isinstance(size, str) else f"{k}"
                chosen = self.sizes[min(len(self.free), len(self.sizes) - 1)]
                shape.append(self.free.setdefault(label, chosen))
        axes: list[Axis] = [((f"{named.name}.{k}", size),) for k, size in enumerate(shape)]
        if not integer and axes:
            axes[-1] = (("F", shape[-1]),)
        kind = np.dtype(named.dtype if named.dtype != "bfloat16" else "float32")
        if np.prod([float(size) for size in shape]) > MOST_OF_INPUT:
            self.exact = False
            array = np.broadcast_to(np.zeros((), kind), shape)
        elif integer:
            array = self.rng.integers(0, 2, shape).astype(kind)
        else:
            array = self.rng.normal(0, 0.5, shape).astype(kind)
        return Value(FLOW, array, Link("input", None, named.name), axes)

    # ------------------------------------------------------------------------------- node by node

    def graph(self, graph: Graph, scope: Scope) -> list[Value]:
        """Walk through a graph in a scope that holds its inputs, and return its outputs."""
        for name, array in graph.constants.items():
            scope[name] = Value(FIXED, array)
        for node in graph.nodes:
            given = [scope.get(name, Value()) if name else None for name in node.inputs]
            values = self.node(node, given, scope)
            for name, value in zip(node.outputs, values, strict=False):
                scope[name] = value
        return [scope.get(output.name, Value()) for output in graph.outputs]

    def node(self, node: Node, given: list[Value | None], scope: Scope) -> list[Value]:
        """Return the outputs of a node; UNKNOWN where it is not understood."""
        if node.op == "If" and not node.domain:
            return self.branch(node, given, scope)
        if node.op in ("Loop", "Scan") and not node.domain:
            return self.turns(node, scope)
        try:
            if all(value is None or value.kind in (FIXED, SIZED) for value in given):
                arrays = compute(node, [None if v is None else v.array for v in given], self.room)
                sized = any(value is not None and value.kind == SIZED for value in given)
                return [Value(SIZED if sized else FIXED, array) for array in arrays]
            if node.op in ("Shape", "Size") and given[0] is not None:
                if given[0].array is not None:
                    return [Value(SIZED, compute(node, [given[0].array], self.room)[0])]
            elif node.op in self.rules and not node.domain:
                found: list[Value] | None = self.rules[node.op](self, node, given)
                if found is not None:
                    return found
        except InputError as error:
            self.unknown.append(str(error))
            return [Value() for _ in node.outputs]
        except (ArithmeticError, LookupError, TypeError, ValueError, AssertionError):
            pass  # it stands where the rule for it does not expect it
        arrays_ = self.probe(node, given, len(node.outputs))
        sources = [value.link for value in given if value is not None and _is_input(value)]
        constants = [value for value in given if value is None or value.kind in (FIXED, SIZED)]
        if sources and len(sources) + len(constants) == len(given):
            # Such a thing may become an initial state; where a layer reads it, that says so.
            return [Value(GIVEN, array, sources[0]) for array in arrays_]
        self.unknown.append(f"{node}: not understood (gives {', '.join(node.outputs)!r:.100})")
        return [Value(UNKNOWN, array) for array in arrays_]

    def probe(
        self, node: Node, given: Sequence[Value | None], count: int = 1
    ) -> list[Array | None]:
        """Compute a node of what its inputs are here; None where that is not known."""
        if any(value is not None and value.array is None for value in given):
            return [None] * count
        try:
            arrays = compute(node, [None if v is None else v.array for v in given], self.room)
        except InputError:
            return [None] * count
        return [*arrays, *[None] * count][: max(count, 1)]

    def branch(self, node: Node, given: list[Value | None], scope: Scope) -> list[Value]:
        """Walk through the branch of an ``If`` that is taken; if unknown, the one with LSTMs."""
        condition = given[0] if given else None
        then, other = (node.attributes.get(f"{name}_branch") for name in ("then", "else"))
        if not isinstance(then, Graph) or not isinstance(other, Graph):
            raise InputError(f"{node}: it has no two branches")
        if (
            condition is not None
            and condition.kind in (FIXED, SIZED)
            and condition.array is not None
        ):
            chosen = then if condition.array.any() else other
        else:
            chosen = other if _lstms(other) > _lstms(then) else then
            which = "then" if chosen is then else "else"
            self.unknown.append(f"{node}: depends on the input; only its {which} branch was read")
            self.exact = False
        return self.graph(chosen, ChainMap({}, scope))

    def turns(self, node: Node, scope: Scope) -> list[Value]:
        """Walk once through the body of a ``Loop`` or ``Scan``: its layers, not what is around."""
        body = node.attributes.get("body")
        if isinstance(body, Graph) and _lstms(body):
            self.unknown.append(f"{node}: only the layers in its body were read, not its turns")
            inner: Scope = ChainMap({}, scope)
            for one in body.inputs:
                inner[one.name] = Value(GIVEN, None, Link("input", None, one.name))
            self.graph(body, inner)
        else:
            self.unknown.append(f"{node}: not understood (gives {', '.join(node.outputs)!r:.100})")
        return [Value() for _ in node.outputs]

    def add(self, link: Link) -> Link:
        """Keep a layer that was found."""
        self.links.append(link)
        return link


def _is_input(value: Value) -> bool:
    """Whether a value is an input of the graph, or is made of it without a layer."""
    return value.link is not None and value.link.kind == "input" and value.kind in (FLOW, GIVEN)


def _lstms(graph: Graph) -> int:
    """Count the LSTM nodes of a graph and of those in it."""
    count = 0
    for node in graph.nodes:
        count += node.op == "LSTM"
        count += sum(_lstms(g) for g in node.attributes.values() if isinstance(g, Graph))
    return count


def _first_input_size(graph: Graph) -> int:
    """Return the size that the first LSTM takes, for inputs that do not say theirs."""
    for node in graph.nodes:
        if node.op == "LSTM" and len(node.inputs) > 1:
            weight = graph.constants.get(node.inputs[1])
            if weight is not None and weight.ndim == 3:
                return int(weight.shape[2])
    return 4
