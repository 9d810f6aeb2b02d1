"""What an ONNX file says, as plain Python: nodes, constants, inputs and outputs.

The numbers of the fields are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lstmkit.formats.onnx.protobuf import Reader, Value
from lstmkit.formats.onnx.tensors import DTYPES, Files, Tensor, Unreadable, read_tensor
from lstmkit.shapes import Array, InputError

MOST_NODES = 10_000  # in a file; it bounds what a small file can make of itself in memory
MOST_ENDS = 4096  # inputs and outputs of a graph; old files name their weights there
MOST_DEPTH = 16  # of graphs in nodes in graphs

Shape = tuple[int | str | None, ...]


@dataclass
class Named:
    """An input or output: ``dtype`` is ``"?"`` and ``shape`` None where the file does not say."""

    name: str
    dtype: str = "?"
    shape: Shape | None = None

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join(str(size or "?") for size in self.shape)
        return f"{self.name} {self.dtype} ({sizes})"


@dataclass
class Node:
    """One operator: ``attributes`` holds numbers, texts, lists, arrays and graphs."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    name: str = ""
    domain: str = ""
    opset: int = 0

    def __str__(self) -> str:
        label = self.name or next(filter(None, self.outputs), "")
        op = f"{self.domain}.{self.op}" if self.domain else self.op
        return f"{op:.60} node {label!r:.80}"


@dataclass
class Graph:
    """Nodes in an order in which they can be computed, and the arrays that are given."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    inputs: list[Named] = field(default_factory=list)
    outputs: list[Named] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


@dataclass
class File:
    """A whole file."""

    owner: str
    size: int = 0  # bytes, with those of the arrays that lie in other files
    graph: Graph = field(default_factory=Graph)
    nodes: int = 0  # those in nodes counted
    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    arrays: list[tuple[str, str, tuple[int, ...]]] = field(default_factory=list)
    functions: list[str] = field(default_factory=list)
    entries: list[memoryview] = field(default_factory=list)  # metadata that is called lstmkit


def open_file(path: str | os.PathLike[str]) -> File:
    """Read a file; its large arrays may lie in files beside it.

    Raises
    ------
    InputError
        If it is not ONNX, or damaged; one line that names it.
    OSError
        As `open` raises it.
    """
    owner = f"onnx.load: {os.fspath(path)!r}"
    with open(path, "rb") as file:
        data = file.read()
    return parse(data, owner, os.path.dirname(os.path.abspath(path)))


def parse(data: bytes, owner: str, folder: str | None = None) -> File:
    """Read a ModelProto; see `open_file`."""
    reader = Reader(owner)
    whole = File(owner)
    graph: Value | None = None
    version = ""
    for number, value in reader.fields(memoryview(data)):
        if number == 1:
            whole.ir_version = reader.integer(value)
        elif number == 2:
            whole.producer = reader.text(value)
        elif number == 3:
            version = reader.text(value)
        elif number == 7:
            graph = value
        elif number == 8:
            domain, opset = "", 0
            for key, part in reader.fields(reader.bytes(value)):
                if key == 1:
                    domain = reader.text(part)
                elif key == 2:
                    opset = reader.integer(part)
            whole.opsets["" if domain == "ai.onnx" else domain] = opset
        elif number == 14:
            pair = dict(reader.fields(reader.bytes(value)))
            if bytes(reader.bytes(pair.get(1, memoryview(b"")))[:8]) == b"lstmkit":
                whole.entries.append(reader.bytes(pair.get(2, memoryview(b""))))
        elif number == 25:
            named = dict(reader.fields(reader.bytes(value)))
            whole.functions.append(reader.text(named[1]) if 1 in named else "?")
    if graph is None:
        raise reader.damaged("it has no graph")
    whole.producer = f"{whole.producer} {version}".strip()
    if not whole.opsets:
        whole.opsets[""] = 1  # of files before opsets had numbers
    files = Files(owner, folder)
    _Maker(reader, whole, files).graph(whole.graph, reader.bytes(graph), 0)
    whole.size = len(data) + files.taken
    return whole


class _Maker:
    def __init__(self, reader: Reader, whole: File, files: Files) -> None:
        self.reader, self.whole, self.files = reader, whole, files

    def graph(self, graph: Graph, data: memoryview, depth: int) -> Graph:
        reader = self.reader
        if depth > MOST_DEPTH:
            raise reader.damaged(f"its graphs are more than {MOST_DEPTH} deep")
        for number, value in reader.fields(data):
            if number == 1:
                self.whole.nodes += 1
                if self.whole.nodes > MOST_NODES:
                    raise InputError(
                        f"{reader.owner} has more than {MOST_NODES} nodes; expected a graph of "
                        "LSTM layers"
                    )
                graph.nodes.append(self.node(reader.bytes(value), depth))
            elif number == 5:
                try:
                    tensor = read_tensor(reader, reader.bytes(value), self.files)
                except Unreadable as error:
                    graph.unread.append(str(error.args[0]))
                    continue
                self.keep(tensor)
                graph.constants[tensor.name] = tensor.array
            elif number == 11:
                graph.inputs.append(self.named(reader.bytes(value)))
            elif number == 12:
                graph.outputs.append(self.named(reader.bytes(value)))
            if len(graph.inputs) + len(graph.outputs) > MOST_ENDS:
                raise InputError(
                    f"{reader.owner} has more than {MOST_ENDS} inputs and outputs; expected a "
                    "graph of LSTM layers"
                )
            elif number == 15:
                graph.unread.append(f"{reader.owner}: a sparse tensor")
        return graph

    def keep(self, tensor: Tensor) -> None:
        if not tensor.name or not tensor.array.ndim:
            return  # a single number is part of an operator, no array of a model
        self.whole.arrays.append((tensor.name, tensor.dtype, tensor.array.shape))

    def node(self, data: memoryview, depth: int) -> Node:
        reader = self.reader
        node = Node("", [], [], {})
        for number, value in reader.fields(data):
            if number == 1:
                node.inputs.append(reader.text(value))
            elif number == 2:
                node.outputs.append(reader.text(value))
            elif number == 3:
                node.name = reader.text(value)
            elif number == 4:
                node.op = reader.text(value)
            elif number == 5:
                name, made = self.attribute(reader.bytes(value), depth)
                node.attributes[name] = made
            elif number == 7:
                domain = reader.text(value)
                node.domain = "" if domain == "ai.onnx" else domain
        if not node.op:
            raise reader.damaged("a node has no operator")
        held = node.attributes.get("value")
        if isinstance(held, np.ndarray) and node.outputs:
            self.keep(Tensor(node.outputs[0], held.dtype.name, held))
        node.opset = self.whole.opsets.get(node.domain, 0)
        return node

    def attribute(self, data: memoryview, depth: int) -> tuple[str, Any]:
        """Return an attribute's name and value; of several values that its type names."""
        reader = self.reader
        name, kind = "", 0
        values: dict[int, list[Value]] = {}
        for number, value in reader.fields(data):
            if number == 1:
                name = reader.text(value)
            elif number == 20:
                kind = reader.integer(value)
            else:
                values.setdefault(number, []).append(value)
        if not kind:  # files of the first version do not say
            kind = next((k for k, at in _AT.items() if at in values), 0)
        if kind not in _AT:
            return name, None
        found = values.get(_AT[kind], [])
        if kind in (_INTS, _FLOATS, _STRINGS):
            if kind == _INTS:
                return name, reader.integers(found, MOST_NODES).tolist()
            if kind == _STRINGS:
                return name, [reader.text(value) for value in found]
            return name, reader.block(found, "<f4").tolist() if found else []
        if kind == _FLOAT:
            return name, reader.real(found[-1]) if found else 0.0
        if kind == _INT:
            return name, reader.integer(found[-1]) if found else 0
        if kind == _STRING:
            return name, reader.text(found[-1]) if found else ""
        if not found:
            raise reader.damaged(f"attribute {name!r:.60} has no value")
        if kind == _GRAPH:
            return name, self.graph(Graph(), reader.bytes(found[-1]), depth + 1)
        try:
            tensor = read_tensor(reader, reader.bytes(found[-1]), self.files)
        except Unreadable:
            return name, None
        return name, tensor.array

    def named(self, data: memoryview) -> Named:
        reader = self.reader
        made = Named("")
        for number, value in reader.fields(data):
            if number == 1:
                made.name = reader.text(value)
            elif number == 2:
                for kind, tensor in reader.fields(reader.bytes(value)):
                    if kind == 1:
                        self.tensor_type(made, reader.bytes(tensor))
        return made

    def tensor_type(self, made: Named, data: memoryview) -> None:
        reader = self.reader
        for number, value in reader.fields(data):
            if number == 1:
                made.dtype = DTYPES.get(reader.integer(value), ("?",))[0]
            elif number == 2:
                sizes: list[int | str | None] = []
                for _, dim in reader.fields(reader.bytes(value)):
                    size: int | str | None = None
                    for key, part in reader.fields(reader.bytes(dim)):
                        if key == 1:
                            size = reader.integer(part)
                        elif key == 2:
                            size = reader.text(part) or None
                    sizes.append(size)
                made.shape = tuple(sizes)


# AttributeProto: the types that are read, and the fields in which their values stand.
_FLOAT, _INT, _STRING, _TENSOR, _GRAPH, _FLOATS, _INTS, _STRINGS = range(1, 9)
_AT = {_FLOAT: 2, _INT: 3, _STRING: 4, _TENSOR: 5, _GRAPH: 6, _FLOATS: 7, _INTS: 8, _STRINGS: 9}
