"""The model that a file of ours says it holds, once its graph has shown that it computes it.

The entry that says so (claim.py) is believed in nothing: graph and model are both run on random
input, with states and lengths where the graph takes them, and must give the same everywhere.
"""

from __future__ import annotations

import numpy as np

from lstmkit.formats.base import Model
from lstmkit.formats.onnx import claim
from lstmkit.formats.onnx.graph import File
from lstmkit.formats.onnx.runtime import Interpreter
from lstmkit.layers import LSTM, Masking, Sequential
from lstmkit.shapes import Array, InputError, shown

BATCH, STEPS = 3, 3
TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # of the largest number of an output


def read(file: File) -> tuple[Model | None, list[str]]:
    """Return the model of a file's entry, or None and, if there is an entry, why not."""
    if not file.entries:
        return None, []
    try:
        if len(file.entries) > 1:
            raise InputError("there are several")
        model = claim.model(file.entries[0], file.size, file.graph.constants)
        chain = Sequential({"lstm": model}) if isinstance(model, LSTM) else model
        _prove(file, chain)
    except InputError as error:
        why = str(error).removeprefix(f"{file.owner}: ")
    except MemoryError:
        why = "it asks for more memory than there is"
    else:
        return model, []
    return None, [f"the file's lstmkit entry is not used: {why}"]


def _prove(file: File, chain: Sequential) -> None:
    """Raise unless the graph gives what the chain gives."""
    rng = np.random.default_rng(0)
    names = [one.name for one in file.graph.inputs]
    x = _draw(chain, rng)
    feeds: dict[str, Array] = {"x": x}
    lengths = None
    if "lengths" in names:
        lengths = np.arange(STEPS, STEPS - BATCH, -1, dtype=np.int32)
        feeds["lengths"] = lengths
    given = [name for name in names if name not in feeds]
    states = [array for lstm in chain.lstms for array in _draw_state(lstm, rng)]
    state = None
    if given:
        feeds |= zip(given, states, strict=False)
        state = list(zip(states[::2], states[1::2], strict=True))
    if names != list(feeds) or len(given) not in (0, len(states)):
        raise InputError(f"the graph's inputs are {shown(', '.join(names), 100)}")
    y, ends = chain(x, state, lengths)
    ours = [y, *(array for pair in ends for array in pair)] if given else [y]
    most = 4 * file.size + 2**24, (STEPS + 1) * file.nodes, 10**8 + 4 * file.size
    theirs = Interpreter(file, *most).run(feeds)  # each node once, or in each step of its Scan
    if len(theirs) != len(ours):
        raise InputError(f"the graph has {len(theirs)} outputs and its model {len(ours)}")
    for named, one, other in zip(file.graph.outputs, theirs, ours, strict=True):
        _compare(named.name, one, other)


def _draw(chain: Sequential, rng: np.random.Generator) -> Array:
    """Draw what a chain takes, with steps that its `Masking` finds."""
    masking = next((a for a in chain.layers.values() if isinstance(a, Masking)), None)
    masked = rng.random((BATCH, STEPS)) < 0.3
    x: Array
    if chain.embedding is not None:
        x = rng.integers(0, chain.input_size, (BATCH, STEPS))
        if masking is not None and masking.value in range(chain.input_size):
            x[masked] = int(masking.value)
        return x
    x = rng.standard_normal((BATCH, STEPS, chain.input_size)).astype(chain.dtype)
    if masking is not None:
        x[masked] = masking.value
    return x


def _draw_state(lstm: LSTM, rng: np.random.Generator) -> list[Array]:
    cell, count = lstm.cells[0], len(lstm.cells)
    shapes = [(count, BATCH, size) for size in (cell.output_size, cell.hidden_size)]
    return [rng.normal(0, 0.5, shape).astype(lstm.dtype) for shape in shapes]


def _compare(name: str, theirs: Array, ours: Array) -> None:
    """Raise unless two outputs are equal but for rounding; what is not finite is not compared."""
    if (theirs.shape, theirs.dtype) != (ours.shape, ours.dtype):
        raise InputError(f"its model gives output {name!r:.60} in another shape than the graph")
    finite = np.isfinite(theirs) & np.isfinite(ours)
    both = np.where(finite, theirs, 0), np.where(finite, ours, 0)
    difference = float(np.abs(both[0] - both[1]).max(initial=0))
    scale = max(1e-2, float(np.abs(both[1]).max(initial=0)))
    if not difference <= TOLERANCE[ours.dtype.name] * scale:
        raise InputError(
            f"its model does not give what the graph gives: the largest difference is "
            f"{difference:.2g} in output {name!r:.60}"
        )


def facts(file: File) -> list[tuple[str, str]]:
    """Say what the model was read from."""
    names = [one.name for one in file.graph.inputs if one.name not in ("x", "lengths")]
    rows = [("layers", "as the lstmkit entry says; the graph computes the same"), ("reads", "x")]
    if names:
        rows.append(("state", ", ".join(names)))
    return [*rows, ("gives", "y")]
