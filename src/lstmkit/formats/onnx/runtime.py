"""Whole graphs computed node by node, with ``If``, ``Loop`` and ``Scan``; and ONNX's `Backend`."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Mapping, MutableMapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit.formats.onnx.graph import File, Graph, Node, open_file, parse
from lstmkit.formats.onnx.operators import Room, compute
from lstmkit.shapes import Array, InputError

MOST_BYTES = 2**33
MOST_STEPS = 10_000_000

Scope = MutableMapping[str, Array]


class Interpreter:
    """Computes a graph.

    Parameters
    ----------
    file : File
        What was read.
    most_bytes, most_steps, most_work : int
        How much results may take in all, how many nodes may be computed, each turn of a loop
        counted, and how much work may be done, see `Room`: what goes beyond ends in an
        `InputError`.
    """

    def __init__(
        self,
        file: File,
        most_bytes: int = MOST_BYTES,
        most_steps: int = MOST_STEPS,
        most_work: int = 2**62,
    ) -> None:
        self.file, self._most_bytes, self._most_steps = file, most_bytes, most_steps
        self._most_work = most_work

    def run(self, inputs: Mapping[str, Array]) -> list[Array]:
        """Compute the outputs of the graph from its inputs, by name.

        Raises
        ------
        InputError
            If an input is missing, an operator unknown, or a node's inputs do not fit it; one
            line that names the node.
        """
        self.room, self.steps = Room(self._most_bytes, self._most_work), self._most_steps
        graph = self.file.graph
        for given in graph.inputs:
            if given.name not in inputs and given.name not in graph.constants:
                raise InputError(f"{self.file.owner}: input {given.name!r:.80} is missing")
        return self._graph(graph, dict(inputs))

    def _graph(self, graph: Graph, scope: Scope) -> list[Array]:
        """Compute a graph's nodes in a scope that holds its inputs, and return its outputs."""
        for name, array in graph.constants.items():
            scope.setdefault(name, array)
        for node in graph.nodes:
            self._step()
            inputs = [self._value(node, name, scope) if name else None for name in node.inputs]
            if node.op in CONTROL and not node.domain:
                outputs = CONTROL[node.op](self, node, inputs, scope)
            else:
                outputs = compute(node, inputs, self.room)
            if len(node.outputs) > len(outputs):
                raise InputError(
                    f"{node}: it has {len(node.outputs)} outputs; expected {len(outputs)}"
                )
            scope.update(
                {name: out for name, out in zip(node.outputs, outputs, strict=False) if name}
            )
        return [self._value("graph", output.name, scope) for output in graph.outputs]

    def _step(self) -> None:
        self.steps -= 1
        if self.steps < 0:
            raise InputError(
                f"{self.file.owner}: its loops take more than {self._most_steps} steps"
            )

    def _value(self, who: Node | str, name: str, scope: Scope) -> Array:
        try:
            return scope[name]
        except KeyError:
            raise InputError(f"{who}: {name!r:.80} is asked for before anything gives it") from None

    # --------------------------------------------------------------------- nodes with graphs inside

    def _body(
        self, node: Node, name: str, given: Sequence[Array | None], scope: Scope
    ) -> list[Array]:
        """Compute a graph that is an attribute; it sees what stands around it."""
        graph = node.attributes.get(name)
        if not isinstance(graph, Graph):
            raise InputError(f"{node}: attribute {name!r} is missing")
        if len(graph.inputs) != len(given):
            raise InputError(
                f"{node}: its graph {name!r} has {len(graph.inputs)} inputs; it is given "
                f"{len(given)}"
            )
        inner = ChainMap({}, scope)
        for one, array in zip(graph.inputs, given, strict=True):
            if array is not None:
                inner[one.name] = array
        self._step()
        return self._graph(graph, inner)

    def _if(self, node: Node, inputs: list[Array | None], scope: Scope) -> list[Array]:
        condition = _flag(node, inputs[0] if inputs else None)
        return self._body(node, "then_branch" if condition else "else_branch", [], scope)

    def _loop(self, node: Node, inputs: list[Array | None], scope: Scope) -> list[Array]:
        limit = inputs[0] if inputs else None
        going = True
        if len(inputs) > 1 and inputs[1] is not None:
            going = _flag(node, inputs[1])
        carried = inputs[2:]
        count, turn = len(carried), 0
        most = None if limit is None else int(limit.reshape(-1)[0])
        rows: list[list[Array]] = []
        while going and (most is None or turn < most):
            given = [np.array(turn, np.int64), np.array(True), *carried]
            found = self._body(node, "body", given, scope)
            if len(found) < 1 + count:
                raise InputError(
                    f"{node}: its body gives {len(found)} outputs; expected {1 + count}"
                )
            going = _flag(node, found[0])
            carried = list(found[1 : 1 + count])
            rows.append(found[1 + count :])
            turn += 1
        width = len(rows[0]) if rows else len(node.outputs) - count
        scans = [_stack(node, [row[k] for row in rows], 0, self.room) for k in range(width)]
        return [*[_present(node, one) for one in carried], *scans]

    def _scan(self, node: Node, inputs: list[Array | None], scope: Scope) -> list[Array]:
        if node.opset < 9:
            raise InputError(f"{node}: a Scan of opset 8 is not supported; expected 9 or newer")
        get = node.attributes.get
        count = get("num_scan_inputs", 0)
        given = [_present(node, one) for one in inputs]
        if not 0 < count <= len(given):
            raise InputError(f"{node}: num_scan_inputs is {count}; it has {len(given)} inputs")
        carried, scanned = given[:-count], given[-count:]
        axes = get("scan_input_axes") or [0] * count
        ways = get("scan_input_directions") or [0] * count
        try:
            moved = [
                np.moveaxis(array, axis, 0)[:: -1 if way else 1]
                for array, axis, way in zip(scanned, axes, ways, strict=True)
            ]
        except ValueError as error:
            raise InputError(f"{node}: its inputs cannot be scanned ({error})") from None
        if len({len(array) for array in moved}) > 1:
            raise InputError(f"{node}: its scanned inputs differ in length")
        rows: list[list[Array]] = []
        for turn in range(len(moved[0])):
            found = self._body(node, "body", [*carried, *(array[turn] for array in moved)], scope)
            carried = found[: len(carried)]
            rows.append(found[len(carried) :])
        width = len(node.outputs) - len(carried)
        axes = get("scan_output_axes") or [0] * width
        ways = get("scan_output_directions") or [0] * width
        scans = []
        for k, (axis, way) in enumerate(zip(axes, ways, strict=False)):
            parts = [row[k] for row in rows if k < len(row)]
            scans.append(_stack(node, parts[::-1] if way else parts, axis, self.room))
        return [*carried, *scans]


CONTROL = {"If": Interpreter._if, "Loop": Interpreter._loop, "Scan": Interpreter._scan}


def _flag(node: Node, array: Array | None) -> bool:
    if array is None or array.size != 1:
        raise InputError(f"{node}: its condition is not one boolean")
    return bool(array.reshape(())[()])


def _present(node: Node, array: Array | None) -> Array:
    if array is None:
        raise InputError(f"{node}: an input is missing")
    return array


def _stack(node: Node, parts: list[Array], axis: int, room: Room) -> Array:
    if not parts:
        return np.zeros(0, np.float32)
    try:
        room.take((len(parts), *parts[0].shape), parts[0].itemsize)
        return np.stack(parts, axis)
    except (InputError, ValueError) as error:
        raise InputError(f"{node}: what its turns give cannot be stacked ({error})") from None


def run(path: str | os.PathLike[str], inputs: Mapping[str, ArrayLike]) -> dict[str, Array]:
    """Compute the graph in a file; see `lstmkit.formats.onnx.run`."""
    file = open_file(path)
    graph = file.graph
    known = {named.name: named.dtype for named in graph.inputs}
    unknown = sorted(set(inputs) - set(known))
    if unknown:
        raise InputError(
            f"{file.owner}: it has no input {unknown[0]!r:.60}; expected {', '.join(known)}"
        )
    dtypes = {name: dtype for name, dtype in known.items() if dtype not in ("?", "bfloat16")}
    arrays = {name: np.asarray(value, dtypes.get(name)) for name, value in inputs.items()}
    outputs = Interpreter(file).run(arrays)
    return {one.name: array for one, array in zip(graph.outputs, outputs, strict=True)}


@cache
def backend() -> Any:
    """Return the class `Backend`; its base is in the onnx package.

    Raises
    ------
    ImportError
        If the package is not installed; it names the extra.
    """
    try:
        import onnx
        from onnx.backend import base
    except ImportError:
        raise ImportError(
            'lstmkit: ONNX\'s backend needs the onnx package (pip install "lstmkit[onnx]")'
        ) from None

    class Prepared(base.BackendRep):
        """A model that is ready to run."""

        def __init__(self, file: File) -> None:
            self.interpreter = Interpreter(file)

        def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
            """Compute the outputs from the inputs: an array, a list in order, or a mapping."""
            graph = self.interpreter.file.graph
            if not isinstance(inputs, Mapping):
                given = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
                names = [one.name for one in graph.inputs if one.name not in graph.constants]
                names += [one.name for one in graph.inputs if one.name in graph.constants]
                if len(given) > len(names):
                    raise InputError(f"onnx: {len(given)} inputs; the graph has {len(names)}")
                inputs = dict(zip(names, given, strict=False))
            arrays = {name: np.asarray(array) for name, array in inputs.items()}
            outputs = self.interpreter.run(arrays)
            named = base.namedtupledict("Outputs", [output.name for output in graph.outputs])
            result: tuple[Any, ...] = named(*outputs)
            return result

    class Backend(base.Backend):
        """ONNX's interface to a system that runs models: ours, for graphs of LSTM nodes."""

        @classmethod
        def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> Any:
            """Check a ModelProto and return it ready to run."""
            super().prepare(model, device, **kwargs)
            return Prepared(parse(model.SerializeToString(), "onnx.Backend: the model"))

        @classmethod
        def run_node(
            cls,
            node: Any,
            inputs: Any,
            device: str = "CPU",
            outputs_info: Any = None,
            **kwargs: Any,
        ) -> tuple[Any, ...] | None:
            """Compute a NodeProto from its inputs, arrays in order; ``opset_version`` chooses."""
            names = [name for name in node.input if name]
            make = onnx.helper
            graph = make.make_graph(
                [node],
                "node",
                [make.make_empty_tensor_value_info(name) for name in names],
                [make.make_empty_tensor_value_info(name) for name in node.output if name],
            )
            opset = kwargs.get("opset_version", 22)
            model = make.make_model(graph, opset_imports=[make.make_opsetid(node.domain, opset)])
            file = parse(model.SerializeToString(), "onnx.Backend: the node")
            result: tuple[Any, ...] = Prepared(file).run(inputs)
            return result

        @classmethod
        def supports_device(cls, device: str) -> bool:
            """Whether a device is the CPU."""
            return device == "CPU"

    return Backend
