"""A stack of cells over a batch: layers, directions, and the dropout between layers.

Pure functions of the parameters, on arrays that were checked at the border. They take any dtype:
the proofs of the gradients run them on complex numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from lstmkit import engine
from lstmkit.cell import Cell
from lstmkit.engine.masks import draw, dropout
from lstmkit.shapes import Array

State = tuple[Array, Array]
Grads = dict[str, Array]
Parameters = dict[str, Array]


class StackTape(NamedTuple):
    """What the forward pass of a stack leaves for its backward pass."""

    packing: engine.Packing
    cells: list[engine.Tape]
    dropped: list[Array | None]  # mask on the output of each layer but the last
    learned_start: bool  # whether it started from h_0 and c_0


@dataclass(frozen=True)
class Stack:
    """Cells in the order ``layer·D + direction``, and the endings of their weights' names."""

    cells: list[Cell]
    names: list[str]
    directions: int
    dropout: float
    recurrent_dropout: float

    def run(
        self,
        parameters: Parameters,
        x: Array,
        state: State | None,
        packing: engine.Packing,
        reset: list[Array] | None = None,
        rng: np.random.Generator | None = None,
        keep_tape: bool = False,
    ) -> tuple[Array, State, StackTape | None]:
        """X (N, T, I) → y (tokens, D·P) in packed order, the final state, and the tape.

        ``reset`` holds one packed array (tokens,) a direction.
        """
        y = packing.pack(x)
        tapes: list[engine.Tape] = []
        dropped: list[Array | None] = []
        ends: list[State] = []
        for first in range(0, len(self.cells), self.directions):
            if first:
                mask = None
                if self.dropout and rng is not None:
                    mask = dropout(rng, self.dropout, y.shape, y.dtype)
                    y = y * mask
                dropped.append(mask)
            calls = []
            for d in range(self.directions):
                k = first + d
                masks = engine.NO_MASKS
                if rng is not None:
                    masks = draw(
                        self.cells[k], rng, self.recurrent_dropout, packing.batch,
                        packing.tokens, y.dtype,
                    )  # fmt: skip
                calls.append(
                    (
                        self.cells[k],
                        self.weights(parameters, k),
                        packing.mirror(y) if d else y,
                        self.start(parameters, state, k, packing, y.dtype),
                        packing.sizes,
                        reset[d] if reset else None,
                        masks,
                        keep_tape,
                    )
                )
            outputs = []
            for d, (out, end, tape) in enumerate(engine.forward_all(calls)):
                outputs.append(packing.mirror(out) if d else out)
                ends.append(end)
                if tape is not None:
                    tapes.append(tape)
            y = outputs[0]
            if self.directions == 2:
                width = sum(out.shape[1] for out in outputs)
                y = np.concatenate(outputs, axis=1, out=engine.empty((len(y), width), y.dtype))
        tape_ = StackTape(packing, tapes, dropped, state is None) if keep_tape else None
        return y, _stack(ends, packing), tape_

    def run_back(
        self, parameters: Parameters, tape: StackTape, dy: Array, dstate: State | None
    ) -> tuple[Array, State, Grads]:
        """Run back from dy (tokens, D·P) to dx (tokens, I), the initial state and the weights."""
        packing = tape.packing
        size = self.cells[0].output_size
        grads: Grads = {}
        dstarts: list[State] = []
        for first in reversed(range(0, len(self.cells), self.directions)):
            calls = []
            for d in range(self.directions):
                k = first + d
                dout = dy[:, d * size : (d + 1) * size]
                calls.append(
                    (
                        self.cells[k],
                        self.weights(parameters, k),
                        tape.cells[k],
                        packing.mirror(dout) if d else dout,
                        self.start(None, dstate, k, packing, dy.dtype),
                    )
                )
            dxs = []
            starts = []
            for d, (dx, dstart, dweights) in enumerate(engine.backward_all(calls)):
                k = first + d
                if self.cells[k].learn_initial_state and tape.learned_start:
                    dweights["h_0"] = dweights["h_0"] + dstart[0].sum(axis=0)
                    dweights["c_0"] = dweights["c_0"] + dstart[1].sum(axis=0)
                grads |= {short + self.names[k]: array for short, array in dweights.items()}
                starts.append(dstart)
                dxs.append(packing.mirror(dx) if d else dx)
            dstarts = starts + dstarts
            dx = dxs[0] + dxs[1] if self.directions == 2 else dxs[0]
            dy = dx
            mask = tape.dropped[first // self.directions - 1] if first else None
            if mask is not None:
                dy = dy * mask
        return dy, _stack(dstarts, packing), {name: grads[name] for name in parameters}

    def stepper(self, parameters: Parameters, rows: int) -> Any:
        """Return the stack to be fed one step at a time, with the weights as they are now."""
        weights = [self.weights(parameters, k) for k in range(len(self.cells))]
        return engine.stepper(self.cells, weights, rows)

    def weights(self, parameters: Parameters, k: int) -> engine.Weights:
        """Return the weights of cell k by their short names."""
        return {short: parameters[short + self.names[k]] for short in self.cells[k].shapes()}

    def start(
        self,
        parameters: Parameters | None,
        state: State | None,
        k: int,
        packing: engine.Packing,
        dtype: DTypeLike,
    ) -> State:
        """Return the state of cell k before the first step, in packed order."""
        if state is not None:
            return packing.sort(state[0][k]), packing.sort(state[1][k])
        cell, name = self.cells[k], self.names[k]
        h = np.zeros((packing.batch, cell.output_size), dtype)
        c = np.zeros((packing.batch, cell.hidden_size), dtype)
        if parameters is not None and cell.learn_initial_state:
            h[:], c[:] = parameters["h_0" + name], parameters["c_0" + name]
        return h, c


def _stack(states: list[State], packing: engine.Packing) -> State:
    if len(states) == 1:
        h, c = states[0]
        return packing.unsort(h[None].copy()), packing.unsort(c[None].copy())
    h = packing.unsort(np.stack([h for h, _ in states]))
    return h, packing.unsort(np.stack([c for _, c in states]))
