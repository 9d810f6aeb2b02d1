"""The links that a graph's values run through, and the layers of ours that they become."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from lstmkit.cell import Cell
from lstmkit.formats.base import Model
from lstmkit.formats.onnx.node import Direction
from lstmkit.layers import (
    LSTM,
    Activation,
    Bidirectional,
    Embedding,
    LastStep,
    Linear,
    Recurrent,
    Sequential,
)
from lstmkit.shapes import Array

SUFFIXES = ("", "_reverse")
Layer = Embedding | Recurrent | Bidirectional | Linear | Activation | LastStep


@dataclass(eq=False)
class Way:
    """One direction of an LSTM link, with the constant state that it starts from (or None)."""

    direction: Direction
    h_0: Array | None = None
    c_0: Array | None = None

    @property
    def starts(self) -> bool:
        """Whether it starts from another state than zero."""
        return self.h_0 is not None or self.c_0 is not None


@dataclass(eq=False)
class Link:
    """What one layer does; ``kind`` says which fields it uses."""

    kind: str  # "input", "embedding", "lstm", "linear", "activation" or "last"
    parent: Link | None
    name: str
    ways: list[Way] = field(default_factory=list)  # of an LSTM: one, or two that are joined
    merge: str = "concat"
    last: bool = False
    weight: Array | None = None  # of an embedding (V, E), or of a linear layer (out, in)
    bias: Array | None = None
    function: Any = None

    def chain(self) -> list[Link]:
        """Return all links from the input to this one."""
        links: list[Link] = []
        link: Link | None = self
        while link is not None:
            links.append(link)
            link = link.parent
        return links[::-1]

    @property
    def source(self) -> Link:
        """The input at which the chain begins."""
        link = self
        while link.parent is not None:
            link = link.parent
        return link

    def with_last(self) -> Link:
        """Return the same LSTM, of which only the end of reading is seen."""
        return replace(self, last=True)


def build(link: Link, turned: bool = False) -> Model:
    """Make the model of a chain that has an LSTM; its arrays are copies.

    ``turned`` says that the chain's output is in the order in which its last LSTM reads, from the
    end.

    LSTM links above each other with equal cells become one `LSTM` of several layers; where that
    is all and it reads forwards, it is the model.
    """
    chain = link.chain()[1:]
    arrays = [way.direction.weights["weight_ih"] for one in chain for way in one.ways]
    dtype = "float64" if any(array.dtype == np.float64 for array in arrays) else "float32"
    layers: dict[str, Layer] = {}
    last = max(k for k, one in enumerate(chain) if one.kind == "lstm")
    at = 0
    while at < len(chain):
        stack = [chain[at]]
        at += 1
        if stack[0].kind == "lstm":
            while at < len(chain) and _stacks(stack[-1], chain[at]):
                stack.append(chain[at])
                at += 1
        kind, layer = stack[0].kind, _layer(stack, dtype)
        if turned and at == last + 1 and isinstance(layer, Recurrent) and layer.backwards:
            layer = Recurrent(layer.lstm, backwards=True, turned=True)
        count = sum(name.split("_")[0] == kind for name in layers)
        layers[f"{kind}_{count + 1}" if count else kind] = layer
    (first, *others) = layers.values()
    if not others and isinstance(first, Recurrent) and not (first.backwards or first.last):
        return first.lstm
    return Sequential(layers)


def _layer(stack: list[Link], dtype: str) -> Layer:
    link = stack[0]
    if link.kind == "lstm":
        return _recurrent(stack, dtype)
    if link.kind == "activation":
        return Activation(link.function)
    if link.kind == "last":
        return LastStep()
    assert link.weight is not None
    rows, columns = link.weight.shape
    # Made with one row and given the others: what a new layer draws would be thrown away.
    if link.kind == "embedding":
        embedding = Embedding(1, columns, dtype=dtype, seed=0)
        embedding.num_embeddings = rows
        embedding.parameters["weight"] = np.array(link.weight, dtype)
        return embedding
    linear = Linear(columns, 1, bias=link.bias is not None, dtype=dtype, seed=0)
    linear.output_size = rows
    linear.parameters["weight"] = np.array(link.weight, dtype, order="C")
    if link.bias is not None:
        linear.parameters["bias"] = np.array(np.broadcast_to(link.bias, (rows,)), dtype)
    return linear


def _cells(link: Link) -> list[Cell]:
    """Return the cells of a link as layers hold them: with h_0 and c_0 in all or in none."""
    learn = any(way.starts for way in link.ways)
    return [replace(way.direction.cell, learn_initial_state=learn) for way in link.ways]


def _is_layer(link: Link) -> bool:
    """Whether the link is a layer of an `LSTM`: forwards, or both ways with equal cells."""
    ways = [way.direction.backwards for way in link.ways]
    return (
        link.kind == "lstm"
        and link.merge == "concat"
        and ways in ([False], [False, True])
        and len(set(_cells(link))) == 1
    )


def _stacks(below: Link, above: Link) -> bool:
    """Whether two links fit into one `LSTM`."""
    if below.last or not (_is_layer(below) and _is_layer(above)):
        return False
    size = _cells(below)[0].input_size
    same = replace(_cells(above)[0], input_size=size) == _cells(below)[0]
    return same and len(below.ways) == len(above.ways)


def _recurrent(stack: list[Link], dtype: str) -> Recurrent | Bidirectional:
    link = stack[-1]
    if _is_layer(link):
        return Recurrent(_lstm([one.ways for one in stack], stack, dtype), last=link.last)
    sides = []
    for way in link.ways:
        alone = replace(link, ways=[way])
        lstm = _lstm([[way]], [alone], dtype)
        sides.append(Recurrent(lstm, backwards=way.direction.backwards, last=link.last))
    return Bidirectional(sides[0], sides[1], link.merge) if len(sides) == 2 else sides[0]


def _lstm(layers: list[list[Way]], links: list[Link], dtype: str) -> LSTM:
    """Make one `LSTM` of the ways of its layers."""
    cell = _cells(links[0])[0]
    config = {
        "input_size": cell.input_size,
        "hidden_size": cell.hidden_size,
        "num_layers": len(layers),
        "bidirectional": len(layers[0]) == 2,
        "bias": cell.bias,
        "proj_size": 0,
        "peepholes": cell.peepholes,
        "coupled_gates": cell.coupled_gates,
        "layer_norm": False,
        "cell_clip": None,
        "gate_clip": cell.gate_clip,
        "activations": cell.activations,
        "zoneout": (0.0, 0.0),
        "learn_initial_state": cell.learn_initial_state,
        "forget_bias": 1.0,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "dtype": dtype,
    }
    parameters: dict[str, Array] = {}
    for k, ways in enumerate(layers):
        for way, suffix in zip(ways, SUFFIXES, strict=False):
            own = dict(way.direction.weights)
            if cell.learn_initial_state:
                zero = np.zeros(cell.hidden_size, dtype)
                own["h_0"] = zero if way.h_0 is None else way.h_0
                own["c_0"] = zero if way.c_0 is None else way.c_0
            parameters |= {f"{name}_l{k}{suffix}": array for name, array in own.items()}
    return LSTM.from_parameters(config, parameters)
