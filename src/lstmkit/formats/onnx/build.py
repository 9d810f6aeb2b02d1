"""An ONNX graph in the making: nodes, weights, constants, and the file that they become."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lstmkit.formats.onnx.claim import Place
from lstmkit.shapes import Array, InputError

IR_VERSIONS = {14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10, 22: 10}
"""Opset: the version of the file format that came with it.

https://github.com/onnx/onnx/blob/main/docs/Versioning.md
"""

LIMIT = 2**31 - 2**20
"""Bytes of weights: a protobuf message has less than 2 GiB, and the rest needs some of it."""

Size = int | str


def package() -> Any:
    """Return the onnx package, or say how to get it."""
    try:
        import onnx
    except ImportError:
        raise ImportError(
            "onnx.save: the package onnx is missing; install it: pip install 'lstmkit[onnx]'"
        ) from None
    return onnx


class Graph:
    """Nodes in their order; every method that adds something gives the names of its results.

    Parameters
    ----------
    dtype
        float32 or float64: of the numbers that `number` makes.
    around : Graph, optional
        The graph of which this one is a body. They share the weights and the names.
    """

    def __init__(self, dtype: DTypeLike, around: Graph | None = None) -> None:
        self.onnx = package()
        self.dtype = np.dtype(dtype)
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self._weights: dict[str, Any] = around._weights if around else {}
        self._constants: dict[tuple[Any, ...], str] = around._constants if around else {}
        self._used: dict[str, int] = around._used if around else {}
        self._scope: list[str] = around._scope if around else []
        self._bytes: list[int] = around._bytes if around else [0]
        self.places: dict[str, Place] = {}  # of the model's parameters, by their own names

    # ---------------------------------------------------------------------------------- nodes

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one result."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, results: int, *inputs: str, **attributes: Any) -> list[str]:
        """Add a node with several results."""
        name = self.name(kind)
        outputs = [name] if results == 1 else [f"{name}.{k}" for k in range(results)]
        node = self.onnx.helper.make_node(kind, list(inputs), outputs, name=name, **attributes)
        self.nodes.append(node)
        return outputs

    def name(self, word: str) -> str:
        """Return a name that nothing has: ``lstm/MatMul``, then ``lstm/MatMul_1``."""
        name = "/".join([*self._scope, word])
        count = self._used[name] = self._used.get(name, -1) + 1
        return f"{name}_{count}" if count else name

    def inside(self, scope: str) -> Graph:
        """Let the names that follow begin with a layer's; a second call ends the first."""
        self._scope[:] = [scope] if scope else []
        return self

    def body(self) -> Graph:
        """Return a graph for the inside of a node."""
        return Graph(self.dtype, self)

    # -------------------------------------------------------------------- weights, constants

    def weight(self, name: str, array: Array) -> str:
        """Add an array that belongs to the model, under the layer's name."""
        self._bytes[0] += array.nbytes
        if self._bytes[0] > LIMIT:
            raise InputError(
                f"onnx.save: model has more than {LIMIT / 2**30:.3g} GiB of weights; expected "
                "less: an ONNX file is one protobuf message of at most 2 GiB (use .safetensors)"
            )
        name = self.name(name)
        array = np.ascontiguousarray(array)
        self._weights[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def constant(self, array: Array) -> str:
        """Add a small array; equal ones are kept once."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = f"constant_{len(self._constants)}"
            self._weights[name] = self.onnx.numpy_helper.from_array(array, name)
        return self._constants[key]

    def number(self, value: float) -> str:
        """Add a number of the model's dtype, without axes."""
        return self.constant(np.array(value, self.dtype))

    def ints(self, *values: int) -> str:
        """Add whole numbers, one axis: axes, sizes, places."""
        return self.constant(np.array(values, np.int64))

    def whole(self, value: int) -> str:
        """Add a whole number without axes."""
        return self.constant(np.array(value, np.int64))

    # -------------------------------------------------------------------- the outside, the file

    def element(self, dtype: DTypeLike) -> int:
        """Return ONNX's number for a dtype."""
        number: int = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        return number

    def describe(self, name: str, dtype: DTypeLike, shape: list[Size], about: str = "") -> Any:
        """Return the entry of an input or output."""
        return self.onnx.helper.make_tensor_value_info(name, self.element(dtype), shape, about)

    def input(self, name: str, dtype: DTypeLike, shape: list[Size], about: str = "") -> str:
        """Add an input."""
        if name in self._used:
            raise InputError(
                f"onnx.save: two things would be called {name!r}; give the layers other names"
            )
        self._used[name] = 0
        self.inputs.append(self.describe(name, dtype, shape, about))
        return name

    def output(
        self, name: str, value: str, dtype: DTypeLike, shape: list[Size], about: str = ""
    ) -> None:
        """Let a result go out under a name."""
        self.nodes.append(
            self.onnx.helper.make_node("Identity", [value], [name], name=f"to/{name}")
        )
        self.outputs.append(self.describe(name, dtype, shape, about))

    def _drop_unused(self) -> set[str]:
        """Leave out nodes and results that nothing needs; return the names of what is needed."""
        used = {output.name for output in self.outputs}
        kept = []
        for node in reversed(self.nodes):
            if not used.intersection(node.output):
                continue
            if node.op_type == "LSTM":  # its results are optional, those of others are not
                results = [name if name in used else "" for name in node.output]
                while not results[-1]:
                    results.pop()
                node.output[:] = results
            used.update(node.input)
            for body in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
                used.update(name for inner in body.node for name in inner.input)
            kept.append(node)
        self.nodes = kept[::-1]
        return used

    def as_body(self, name: str) -> Any:
        """Return what a node with a graph inside takes as an attribute."""
        return self.onnx.helper.make_graph(self.nodes, name, self.inputs, self.outputs)

    def as_file(self, name: str, opset: int, about: str, entries: dict[str, str]) -> bytes:
        """Return the bytes of the model, checked by ONNX; equal graphs give equal bytes.

        The entries are its metadata.
        """
        helper = self.onnx.helper
        used = self._drop_unused()
        weights = [array for name, array in self._weights.items() if name in used]
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, weights)
        try:
            installed = version("lstmkit")
        except PackageNotFoundError:  # run from the source
            installed = ""
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", opset)],
            ir_version=IR_VERSIONS[opset],
            producer_name="lstmkit",
            producer_version=installed,
            doc_string=about,
        )
        helper.set_model_props(model, entries)
        data: bytes = model.SerializeToString(deterministic=True)
        self.onnx.checker.check_model(data)
        return data
