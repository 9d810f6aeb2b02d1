"""A model of ours as an ONNX file, in standard operators.

Layer by layer what `Sequential` and `Recurrent.run` do, in the same order. Values between the
layers are batch first; an LSTM turns its input time first and its output back.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np

from lstmkit.formats.base import Model
from lstmkit.formats.onnx import claim
from lstmkit.formats.onnx.build import IR_VERSIONS, Graph, Size, package
from lstmkit.formats.onnx.steps import Directions, activation, fits_a_node, node, scan
from lstmkit.layers import (
    LSTM,
    Activation,
    Bidirectional,
    Embedding,
    LastStep,
    Linear,
    Masking,
    Pooling,
    Recurrent,
    Sequential,
)
from lstmkit.shapes import Array, InputError, one_of, positive_integer
from lstmkit.store import atomic_write

OPSET = 17


def save(
    model: Model,
    path: str | os.PathLike[str],
    *,
    opset: int = OPSET,
    states: bool = False,
    lengths: bool = False,
) -> None:
    """Write a model as ONNX, for any runtime that reads standard operators.

    The graph takes ``x``, float32 or float64 ``(batch, time, I)`` as the model computes, or int64
    ``(batch, time)`` where it begins with an Embedding, and gives ``y``, which is the model's.
    Batch and time may have any size from 1 on.

    Each layer of an LSTM becomes an LSTM node if that node has all of it: peepholes, coupled gates
    (``input_forget``), ``gate_clip`` (``clip``), every activation, both directions. Layer
    normalization, ``cell_clip``, projection and zoneout, which it has not, and float64, which ONNX
    Runtime refuses in that node, become a Scan of simple operators, one step of the cell in its
    body. Learned initial states are in the file; dropout does nothing in use and is left out.
    Weights that are quantized to bfloat16 are written as the float32 numbers that they are.

    An entry in the file's metadata says what the model is and where its parameters are; by it
    `lstmkit.formats.onnx.load` gives back the same model, bit for bit.

    Parameters
    ----------
    model : LSTM or Sequential
        Any, with every option. (A `LanguageModel` has a Sequential.)
    path
        Where; see `lstmkit.store.atomic_write`.
    opset : int
        14 to 22. ONNX Runtime has read 17, with its file format 8, since version 1.12 of 2022, and
        the converters of other runtimes read it too; nothing newer is needed here.
    states : bool
        Whether the states are inputs and outputs, so that a runtime can go on step by step: for an
        LSTM ``h_0``, ``c_0`` and ``h_n``, ``c_n``, shaped as ours, ``(L·D, batch, P or H)``; where
        the chain has several, ``h_0_NAME`` with the layer's name and so on (of a `Bidirectional`,
        ``NAME_forward`` and ``NAME_backward``). They must be given: zeros, or the learned ones.
    lengths : bool
        Whether there is an input ``lengths``, int32 ``(batch,)``: the real steps of each sequence.
        As in `Sequential`: LSTMs give 0 past the end, and the state is the one at the true end.

    Raises
    ------
    InputError
        If the model is something else, an option is wrong, or the weights have 2 GiB or more.
    ImportError
        If the onnx package is missing; the extra ``onnx`` brings it.
    OSError
        If the file cannot be written.

    Notes
    -----
    Equal models give equal bytes. A sequence may have the length 0, but a batch or a time of 0 ends
    the whole process of ONNX Runtime (1.31).

    The clip of ONNX bounds what goes into the gates, as in ONNX Runtime. A runtime that bounds the
    cell state before its activation as well gives other numbers where that state is larger
    (https://github.com/microsoft/onnxruntime/issues/27224).
    """
    if not isinstance(model, LSTM | Sequential):
        raise InputError(
            f"onnx.save: model is {type(model).__name__}; expected an LSTM or a Sequential"
        )
    chain = Sequential({"lstm": model}) if isinstance(model, LSTM) else model
    opset = one_of(
        "onnx.save", "opset", positive_integer("onnx.save", "opset", opset), [*IR_VERSIONS]
    )
    states = bool(one_of("onnx.save", "states", states, (True, False)))
    lengths = bool(one_of("onnx.save", "lengths", lengths, (True, False)))
    newest = package().defs.onnx_opset_version()
    if opset > newest:
        raise InputError(
            f"onnx.save: opset is {opset}; the installed onnx package knows {newest} at most "
            "(upgrade onnx)"
        )
    with np.errstate(over="ignore"):  # a clip beyond float32 is none
        graph = _Writer(chain, states, lengths).graph
        entries = {claim.KEY: _entry(model, graph.places)}
        data = graph.as_file("lstmkit", opset, _about(chain), entries)
    with atomic_write(path) as file:
        file.write(data)


def _about(model: Sequential) -> str:
    return f"{model!r}, written by lstmkit (LSTM gates in ONNX's order)"


def _entry(model: Model, places: dict[str, claim.Place]) -> str:
    """Say what the model is, and where in the graph each of its parameters."""
    if isinstance(model, LSTM):
        places = {name.removeprefix("lstm."): place for name, place in places.items()}
    absent = {name: array for name, array in model.parameters.items() if name not in places}
    return claim.text(type(model).__name__, model.config, places, absent)


class _Known(NamedTuple):
    """Which steps count: names of the mask ``(N, T)`` and of how many each sequence has, ``(N,)``.

    ``holes``: whether a step that counts can come after one that does not.
    """

    mask: str
    lengths: str
    holes: bool


class _Writer:
    """Walks along the chain and adds what each layer does to the graph."""

    def __init__(self, model: Sequential, states: bool, lengths: bool) -> None:
        self.graph = graph = Graph(model.dtype)
        self.dtype = model.dtype
        self.states, self.alone = states, len(model.lstms) == 1
        self.ends: list[tuple[str, str, str, LSTM]] = []
        self.tokens = model.embedding is not None  # whether x is still tokens
        shape: list[Size] = ["batch", "time", *([] if self.tokens else [model.input_size])]
        x = graph.input("x", np.int64 if self.tokens else model.dtype, shape, "input sequences")
        known = None
        if lengths:
            real = graph.input("lengths", np.int32, ["batch"], "real steps of each sequence")
            known = self._first(x, real)
        flat = False
        for name, layer in model.layers.items():
            graph.inside(name)
            if flat and isinstance(layer, Recurrent | Bidirectional | LastStep | Pooling):
                raise InputError(
                    f"onnx.save: layer {name!r} stands after one that gives one step of each; "
                    "expected sequences there"
                )
            x, known, flat = self._layer(name, layer, x, known, flat)
        graph.inside("")
        shape = ["batch", *([] if flat else ["time"]), model.output_size]
        graph.output("y", x, model.dtype, shape, "output of the last layer")
        about = "state after the last step"
        for ending, h, c, lstm in self.ends:
            cells, first = len(lstm.cells), lstm.cells[0]
            for name, value, size in (("h_n", h, first.output_size), ("c_n", c, first.hidden_size)):
                graph.output(name + ending, value, model.dtype, [cells, "batch", size], about)

    def _layer(
        self, name: str, layer: Any, x: str, known: _Known | None, flat: bool
    ) -> tuple[str, _Known | None, bool]:
        """Add a layer: what it gives, which steps count after it, and whether it gave one step."""
        graph = self.graph
        if isinstance(layer, Embedding):
            self.tokens = False
            table = self._weight(name, "weight", layer.parameters["weight"])
            y = graph.op("Gather", table, x)
            return y, known, flat
        if isinstance(layer, Linear):
            weight = self._weight(name, "weight", layer.parameters["weight"], turned=True)
            y = graph.op("MatMul", x, weight)
            if "bias" in layer.parameters:
                y = graph.op("Add", y, self._weight(name, "bias", layer.parameters["bias"]))
            return y, known, flat
        if isinstance(layer, Activation):
            return self._activation(layer.function, x), known, flat
        if isinstance(layer, Masking):
            y, found = self._masking(layer.value, x, known)
            return y, None if flat else found, flat
        if isinstance(layer, LastStep):
            return self._last_step(x, known), None, True
        if isinstance(layer, Pooling):
            return self._pooling(layer.how, x, known), None, True
        if isinstance(layer, Recurrent):
            y = self._recurrent("" if self.alone else f"_{name}", f"{name}.", layer, x, known)
            return y, None if layer.last else known, layer.last
        one = self._recurrent(f"_{name}_forward", f"{name}.forward.", layer.forward, x, known)
        two = self._recurrent(f"_{name}_backward", f"{name}.backward.", layer.backward, x, known)
        if layer.merge == "concat":
            y = graph.op("Concat", one, two, axis=-1)
        else:
            y = graph.op("Mul" if layer.merge == "mul" else "Add", one, two)
        if layer.merge == "ave":
            y = graph.op("Div", y, graph.number(2))
        return y, None if layer.forward.last else known, layer.forward.last

    def _weight(self, name: str, short: str, array: Array, turned: bool = False) -> str:
        """Add a parameter of a layer."""
        held = self.graph.weight(short, array.T if turned else array)
        place = claim.Place(held, "turned" if turned else "same")
        self.graph.places[f"{name}.{short}"] = place
        return held

    # --------------------------------------------------------------------------- the recurrent

    def _recurrent(
        self, ending: str, owner: str, layer: Recurrent, x: str, known: _Known | None
    ) -> str:
        """Do what `Recurrent.run` does.

        The names of its states end with ``ending``, those of its parameters begin with ``owner``.
        """
        graph = self.graph
        # What repeats or stays as it was read is read as ours does it: x turned around.
        turn = layer.backwards and (layer.turned or (layer.repeat and known is not None))
        if turn:
            x = self._turned(x)
            if known is not None:
                known = _Known(self._turned(known.mask), known.lengths, True)
        seen, real = x, known
        if known is not None and known.holes:
            seen, real = self._moved_together(x, known)
        y, last = self._stack(ending, owner, layer.lstm, seen, real, layer.backwards and not turn)
        if layer.last:
            if not layer.lstm.bidirectional:
                return graph.op("Squeeze", last, graph.ints(0))
            last = graph.op("Transpose", last, perm=[1, 0, 2])
            return graph.op("Reshape", last, graph.ints(0, -1))
        if known is not None and (known.holes or layer.repeat):
            y = self._spread(y, known.mask, layer.repeat)
        return self._turned(y) if turn and not layer.turned else y

    def _stack(
        self,
        ending: str,
        owner: str,
        lstm: LSTM,
        x: str,
        real: _Known | None,
        backwards: bool,
    ) -> tuple[str, str]:
        """Add the layers of an LSTM: x ``(N, T, I)`` → y ``(N, T, D·P)`` and the last layer's h.

        The real steps come first.
        """
        graph, count, cells = self.graph, lstm.stack.directions, lstm.cells
        as_nodes = fits_a_node(cells[0], self.dtype)
        given = self._given(ending, lstm) if self.states else None
        batch = graph.op("Gather", graph.op("Shape", x), graph.ints(0))
        y = graph.op("Transpose", x, perm=[1, 0, 2]) if as_nodes else x
        ends: list[tuple[str, str]] = []
        for first in range(0, len(cells), count):
            weights = [lstm.stack.weights(lstm.parameters, first + d) for d in range(count)]
            learned = [[one.pop(name) for one in weights if name in one] for name in ("h_0", "c_0")]
            ways = (backwards,) if count == 1 else (False, True)
            endings = lstm.stack.names[first : first + count]
            layer = Directions(cells[first : first + count], weights, ways, owner, endings)
            if given is not None:
                h, c = (self._part(state, first, count, len(cells)) for state in given)
                layer = layer._replace(h=h, c=c)
            elif cells[0].learn_initial_state:
                h, c = (
                    self._for_each(batch, layer, name, np.stack(rows))
                    for name, rows in zip(("h_0", "c_0"), learned, strict=True)
                )
                layer = layer._replace(h=h, c=c)
            if as_nodes:
                y, h, c = node(graph, layer, y, real.lengths if real else None)
            else:
                y, h, c = scan(graph, layer, y, real.mask if real else None)
            ends.append((h, c))
        if self.states:
            h, c = (
                graph.op("Concat", *parts, axis=0) if len(parts) > 1 else parts[0]
                for parts in zip(*ends, strict=True)
            )
            self.ends.append((ending, h, c, lstm))
        if as_nodes:
            y = graph.op("Transpose", y, perm=[1, 0, 2])
        return y, ends[-1][0]

    def _given(self, ending: str, lstm: LSTM) -> list[str]:
        """Add the inputs for the states before the first step."""
        cell, about = lstm.cells[0], "state before the first step"
        return [
            self.graph.input(
                f"{letter}_0{ending}", self.dtype, [len(lstm.cells), "batch", size], about
            )
            for letter, size in (("h", cell.output_size), ("c", cell.hidden_size))
        ]

    def _part(self, state: str, first: int, count: int, cells: int) -> str:
        """Take the rows of one layer in a state of all."""
        if count == cells:
            return state
        ints = self.graph.ints
        return self.graph.op("Slice", state, ints(first), ints(first + count), ints(0))

    def _for_each(self, batch: str, layer: Directions, name: str, rows: Array) -> str:
        """Give every sequence the same rows ``(D, size)``: ``(D, N, size)``."""
        graph = self.graph
        count, size = rows.shape
        shape = graph.op("Concat", graph.ints(count), batch, graph.ints(size), axis=0)
        held = layer.hold(graph, name, graph.weight(name, rows[:, None]), "row")
        return graph.op("Expand", held, shape)

    # ------------------------------------------------------------------------------- the masks

    def _first(self, x: str, lengths: str) -> _Known:
        """Mark the first steps of each sequence of x ``(N, T, …)``."""
        graph = self.graph
        rows = graph.op("Cast", lengths, to=graph.element(np.int64))
        mask = graph.op("Less", self._time(x), graph.op("Unsqueeze", rows, graph.ints(1)))
        return _Known(mask, lengths, False)

    def _time(self, x: str) -> str:
        """Count 0, 1 … T − 1 for an array ``(N, T, …)``."""
        graph = self.graph
        steps = graph.op("Gather", graph.op("Shape", x), graph.whole(1), axis=0)
        return graph.op("Range", graph.whole(0), steps, graph.whole(1))

    def _turned(self, x: str) -> str:
        """Turn the steps of ``(N, T, …)``: from the last to the first."""
        ints = self.graph.ints
        return self.graph.op("Slice", x, ints(-1), ints(-(2**62)), ints(1), ints(-1))

    def _moved_together(self, x: str, known: _Known) -> tuple[str, _Known]:
        """Move the steps that count to the front, in their order."""
        graph, time = self.graph, self._time(x)
        steps = graph.op("Gather", graph.op("Shape", x), graph.ints(1))
        places = graph.op("Where", known.mask, time, graph.op("Add", time, steps))
        order = graph.ops("TopK", 2, places, steps, axis=1, largest=0, sorted=1)[1]
        return self._picked(x, order), self._first(x, known.lengths)

    def _picked(self, x: str, places: str, rank: int = 2) -> str:
        """Take the steps at the places: x ``(N, T, F)``, places ``(N, T)``, or ``(N,)`` of rank 1.

        Not GatherND with batch_dims, which not every runtime has: rows are counted through.
        """
        graph = self.graph
        shape = graph.op("Shape", x)
        batch, steps = (graph.op("Gather", shape, graph.whole(axis)) for axis in (0, 1))
        rows = graph.op("Range", graph.whole(0), batch, graph.whole(1))
        first = graph.op("Mul", rows, steps)
        if rank == 2:
            first = graph.op("Unsqueeze", first, graph.ints(1))
        return graph.op("Gather", graph.op("Flatten", x, axis=2), graph.op("Add", first, places))

    def _spread(self, y: str, mask: str, repeat: bool) -> str:
        """Put the steps that stand together back to their places; see `Recurrent`."""
        graph = self.graph
        ones = graph.op("Cast", mask, to=graph.element(np.int64))
        latest = graph.op("Sub", graph.op("CumSum", ones, graph.whole(1)), graph.whole(1))
        y = self._picked(y, graph.op("Max", latest, graph.whole(0)))
        shown = graph.op("GreaterOrEqual", latest, graph.whole(0)) if repeat else mask
        return graph.op("Where", graph.op("Unsqueeze", shown, graph.ints(2)), y, graph.number(0))

    def _masking(self, value: float, x: str, known: _Known | None) -> tuple[str, _Known | None]:
        """Mark the steps that are the value, and set them to 0 where they are not tokens."""
        graph = self.graph
        if self.tokens:
            if value != int(value):
                return x, known  # no token is that
            mask = graph.op("Not", graph.op("Equal", x, graph.whole(int(value))))
        else:
            other = graph.op("Not", graph.op("Equal", x, graph.number(value)))
            many = graph.op("Cast", other, to=graph.element(np.int32))
            many = graph.op("ReduceSum", many, graph.ints(-1), keepdims=0)
            mask = graph.op("Greater", many, graph.constant(np.array(0, np.int32)))
            factor = graph.op("Cast", mask, to=graph.element(self.dtype))
            x = graph.op("Mul", x, graph.op("Unsqueeze", factor, graph.ints(-1)))
        if known is not None:
            mask = graph.op("And", known.mask, mask)
        count = graph.op("Cast", mask, to=graph.element(np.int32))
        count = graph.op("ReduceSum", count, graph.ints(1), keepdims=0)
        return x, _Known(mask, count, True)

    def _last_step(self, y: str, known: _Known | None) -> str:
        graph = self.graph
        if known is None:
            return graph.op("Gather", y, graph.whole(-1), axis=1)
        ones = graph.op("Cast", known.mask, to=graph.element(np.int32))
        place = graph.op("ArgMax", ones, axis=1, keepdims=0, select_last_index=1)
        some = graph.op("Greater", known.lengths, graph.constant(np.array(0, np.int32)))
        some = graph.op("Unsqueeze", some, graph.ints(1))
        return graph.op("Where", some, self._picked(y, place, rank=1), graph.number(0))

    def _pooling(self, how: str, y: str, known: _Known | None) -> str:
        """Pool the steps that count; by operators that are the same in every opset."""
        graph = self.graph
        if known is not None:
            ends = graph.number(0 if how == "mean" else np.finfo(self.dtype).min)
            y = graph.op("Where", graph.op("Unsqueeze", known.mask, graph.ints(2)), y, ends)
        if how == "mean":
            count = graph.op("Gather", graph.op("Shape", y), graph.ints(1))
            if known is not None:
                least = graph.constant(np.array(1, np.int32))
                count = graph.op("Unsqueeze", graph.op("Max", known.lengths, least), graph.ints(1))
            total = graph.op("ReduceSum", y, graph.ints(1), keepdims=0)
            return graph.op("Div", total, graph.op("Cast", count, to=graph.element(self.dtype)))
        most = graph.ops("TopK", 2, y, graph.ints(1), axis=1, largest=1, sorted=1)[0]
        pooled = graph.op("Squeeze", most, graph.ints(1))
        if known is None:
            return pooled
        some = graph.op("Greater", known.lengths, graph.constant(np.array(0, np.int32)))
        return graph.op(
            "Where", graph.op("Unsqueeze", some, graph.ints(1)), pooled, graph.number(0)
        )

    def _activation(self, function: Any, z: str) -> str:
        if function == "softmax":
            return self.graph.op("Softmax", z, axis=-1)
        if function == "log_softmax":
            return self.graph.op("LogSoftmax", z, axis=-1)
        return activation(self.graph, function, z)
