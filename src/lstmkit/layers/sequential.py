"""Layers one after the other: what a model that comes from another library becomes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lstmkit import engine, store
from lstmkit.layers.feedforward import Embedding, Linear
from lstmkit.layers.inference import LastStep, Masking, Pooling
from lstmkit.layers.links import (
    Layer,
    config_of,
    describe,
    from_config,
    parameters_of,
    sizes_of,
)
from lstmkit.layers.lstm import LSTM
from lstmkit.layers.recurrent import Bidirectional, Mask, Recurrent, State
from lstmkit.shapes import (
    Array,
    InputError,
    boolean_array,
    integer_array,
    one_of,
    positive_integer,
    real_array,
)
from lstmkit.stream import Part, SequentialStream, Stream

MOST = 1024
"""Layers of a chain."""
OF_SEQUENCES = Recurrent | Bidirectional | LastStep | Pooling


class Sequential:
    """A chain of layers, for inference.

    Parameters
    ----------
    layers : mapping of str to layer
        `Embedding`, `Recurrent` (or an `LSTM`, which becomes one), `Bidirectional`, `Linear`,
        `Activation`, `Masking`, `LastStep`, `Pooling`, by names without dots, in their order. They
        are held, not copied.

    Attributes
    ----------
    layers : dict
        As given.
    dtype : numpy dtype
        float32 or float64, that of all layers.

    Examples
    --------
    >>> import lstmkit as lk
    >>> model = lk.Sequential({"lstm": lk.LSTM(3, 8, seed=0), "head": lk.Linear(8, 2, seed=0)})
    >>> y, state = model(np.zeros((1, 5, 3)))
    >>> y.shape
    (1, 5, 2)
    >>> model.stream().step(np.zeros((1, 3))).shape
    (1, 2)
    """

    def __init__(self, layers: Mapping[str, Layer | LSTM]) -> None:
        if not isinstance(layers, Mapping) or not 0 < len(layers) <= MOST:
            raise InputError(f"sequential: layers is no dict of 1 to {MOST} layers by name")
        self.layers: dict[str, Layer] = {}
        size: int | None = None
        dtypes: set[str] = set()
        for name, layer in layers.items():
            if not isinstance(name, str) or not name or "." in name:
                raise InputError(
                    f"sequential: a layer has the name {name!r}; expected text without a dot"
                )
            if isinstance(layer, LSTM):
                layer = Recurrent(layer)
            if not isinstance(layer, Layer):
                raise InputError(
                    f"sequential: layer {name!r} is {type(layer).__name__}; expected a layer"
                )
            dtypes |= {array.dtype.name for array in parameters_of(layer).values()}
            takes, gives = sizes_of(layer)
            if size is not None and takes is not None and takes != size:
                raise InputError(
                    f"sequential: layer {name!r} takes {takes} numbers and gets {size}; expected "
                    "each layer to take what the one before it gives"
                )
            if isinstance(layer, Embedding) and any(
                not isinstance(before, Masking) for before in self.layers.values()
            ):
                raise InputError(
                    f"sequential: layer {name!r} is an Embedding; expected it to be the first"
                )
            size = gives if gives is not None else size
            self.layers[name] = layer
        if len(dtypes) != 1:
            raise InputError(
                f"sequential: the layers' dtypes are {', '.join(sorted(dtypes)) or 'none'}; "
                "expected one"
            )
        self.dtype = np.dtype(dtypes.pop())

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {describe(layer)}" for name, layer in self.layers.items())
        return f"Sequential({shown})"

    # ---------------------------------------------------------------------------- what it has

    @property
    def parameters(self) -> dict[str, Array]:
        """The layers' own arrays, named ``layer.parameter``."""
        return {
            f"{name}.{short}": array
            for name, layer in self.layers.items()
            for short, array in parameters_of(layer).items()
        }

    @property
    def lstms(self) -> list[LSTM]:
        """Every LSTM, in the order of the states."""
        found: list[LSTM] = []
        for layer in self.layers.values():
            if isinstance(layer, Recurrent):
                found.append(layer.lstm)
            elif isinstance(layer, Bidirectional):
                found += [layer.forward.lstm, layer.backward.lstm]
        return found

    @property
    def embedding(self) -> Embedding | None:
        """The layer that reads tokens; without one the input is numbers."""
        return next((a for a in self.layers.values() if isinstance(a, Embedding)), None)

    @property
    def input_size(self) -> int:
        """I, the numbers of a step; of an embedding V, the number of tokens."""
        if self.embedding is not None:
            return self.embedding.num_embeddings
        sizes = (sizes_of(layer)[0] for layer in self.layers.values())
        return next(size for size in sizes if size is not None)

    @property
    def output_size(self) -> int:
        """Numbers in a step of y."""
        sizes = [sizes_of(layer)[1] for layer in self.layers.values()]
        return [size for size in sizes if size is not None][-1]

    # ------------------------------------------------------------------------------- running

    def __call__(
        self,
        x: ArrayLike,
        state: Sequence[tuple[ArrayLike, ArrayLike]] | None = None,
        lengths: ArrayLike | None = None,
        mask: ArrayLike | None = None,
    ) -> tuple[Array, tuple[State, ...]]:
        """Run whole sequences.

        Parameters
        ----------
        x : array (N, T, I), or (N, T) of int
            Input sequences; tokens where the chain begins with an Embedding.
        state : sequence of pairs of arrays, optional
            h and c, shaped as `LSTM`'s, for every one of `lstms`; zeros, or the learned initial
            states, by default.
        lengths : array (N,) of int, optional
            Real steps of each sequence; the others are masked.
        mask : array (N, T) of bool, optional
            False at steps that are passed over, anywhere; instead of ``lengths``. Steps that a
            `Masking` layer finds are passed over as well.

        Returns
        -------
        y : array (N, T, O), or (N, O) after a layer that shows the last step or pools them
            What the last layer gives.
        state : tuple of pairs
            As the argument, after the last step.

        Raises
        ------
        InputError
            If an argument has the wrong rank, size, dtype or range.
        """
        y = self._input("sequential", x, ("batch", "time"))
        batch, steps = y.shape[:2]
        known = self._mask(batch, steps, lengths, mask)
        states = self._states(state)
        ends: list[State] = []
        for name, layer in self.layers.items():
            if isinstance(layer, OF_SEQUENCES) and y.ndim != 3:
                raise InputError(
                    f"sequential: layer {name!r} gets the shape {y.shape}; expected "
                    "(batch, time, features): a layer before it gives one step of each sequence"
                )
            if isinstance(layer, Recurrent):
                y, end = layer.run(y, states[len(ends)] if states else None, known)
                ends.append(end)
                known = None if layer.last else known
            elif isinstance(layer, Bidirectional):
                pair = states[len(ends) : len(ends) + 2] if states else None
                y, both = layer.run(y, pair, known)
                ends += both
                known = None if layer.forward.last else known
            elif isinstance(layer, LastStep | Pooling):
                y, known = layer(y, known), None
            elif isinstance(layer, Masking):
                y, found = layer(y)
                known = found if known is None else known & found
            else:
                y = layer(y)
        return y, tuple(ends)

    def stream(self, batch_size: int = 1) -> SequentialStream:
        """Return a stream of the chain, fed one step at a time.

        A layer that shows the last step alone shows, after each step, what it would show if the
        sequence ended there. A step that a `Masking` layer marks is refused: leave it out.

        Raises
        ------
        InputError
            If a layer reads from the end, or pools all steps, and so cannot be fed step by step.
        """
        batch = positive_integer("sequential.stream", "batch_size", batch_size)
        parts: list[Part] = []
        for name, layer in self.layers.items():
            if isinstance(layer, Bidirectional) or (
                isinstance(layer, Recurrent) and (layer.backwards or layer.lstm.bidirectional)
            ):
                raise InputError(
                    f"sequential.stream: layer {name!r} reads from the end and cannot be fed step "
                    "by step; call the model on whole sequences"
                )
            if isinstance(layer, Pooling):
                raise InputError(
                    f"sequential.stream: layer {name!r} pools all steps and cannot be fed step by "
                    "step; call the model on whole sequences"
                )
            if isinstance(layer, Recurrent):
                parts.append(layer.lstm.stream(batch))
            elif isinstance(layer, Masking):
                parts.append(_refuse_masked(layer))
            elif isinstance(layer, Linear):
                parts.append(engine.linear_step(layer.parameters, batch))
            elif isinstance(layer, Embedding):
                parts.append(layer.parameters["weight"].__getitem__)
            elif not isinstance(layer, LastStep):
                parts.append(layer)
        if isinstance(parts[0], Stream):  # which checks for itself
            return SequentialStream(parts)
        return SequentialStream(parts, self._checked_step(batch))

    def _checked_step(self, batch: int) -> Callable[[ArrayLike], Array]:
        """Return what checks the input of a step; what needs no check or change, gets none."""
        tokens = self.embedding is not None
        size = self.input_size
        shape = (batch,) if tokens else (batch, size)
        dtype = np.dtype(np.int64) if tokens else self.dtype

        def check(x: ArrayLike) -> Array:
            if (
                isinstance(x, np.ndarray)
                and x.dtype == dtype
                and x.shape == shape
                and x.flags.c_contiguous
                # Numbers below 0 are large ones without a sign.
                and not (tokens and x.view(np.uint64).max() >= size)
            ):
                return x
            return np.ascontiguousarray(self._input("stream.step", x, (("batch", batch),)))

        return check

    def _input(self, owner: str, x: ArrayLike, leading: tuple[Any, ...]) -> Array:
        embedding = self.embedding
        if embedding is not None:
            highest = embedding.num_embeddings - 1
            return integer_array(owner, "x", x, (*leading,), 0, highest)
        return real_array(owner, "x", x, (*leading, ("input_size", self.input_size)), self.dtype)

    def _mask(self, batch: int, steps: int, lengths: Any, mask: Any) -> Mask | None:
        if mask is not None:
            if lengths is not None:
                raise InputError("sequential: lengths and mask are given; expected one of them")
            axes = (("batch", batch), ("time", steps))
            given: Mask = boolean_array("sequential", "mask", mask, axes)
            return given
        if lengths is None:
            return None
        lengths = integer_array("sequential", "lengths", lengths, (("batch", batch),), 0, steps)
        found: Mask = np.arange(steps) < lengths[:, None]
        return found

    def _states(self, state: Any) -> list[Any] | None:
        if state is None:
            return None
        count = len(self.lstms)
        if not isinstance(state, Sequence) or len(state) != count:
            raise InputError(
                f"sequential: state is not a sequence of {count} pairs (h, c), one for each LSTM"
            )
        return list(state)

    # --------------------------------------------------------------------------------- files

    @property
    def config(self) -> dict[str, Any]:
        """What `from_parameters` makes it of again: JSON values."""
        layers = [[name, type(a).__name__, config_of(a)] for name, a in self.layers.items()]
        return {"dtype": self.dtype.name, "layers": layers}

    @classmethod
    def from_parameters(
        cls, config: Mapping[str, Any], parameters: Mapping[str, ArrayLike]
    ) -> Sequential:
        """Make a chain from its `config` and arrays, copied; nothing is drawn.

        Raises
        ------
        InputError
            If a name is missing or unknown, or a shape disagrees with the config.
        """
        if not isinstance(config, Mapping) or set(config) != {"dtype", "layers"}:
            raise InputError("sequential: config is no dict of dtype and layers")
        rows, dtype = config["layers"], config["dtype"]
        if not isinstance(rows, list | tuple) or not 0 < len(rows) <= MOST:
            raise InputError(f"sequential: config: layers is no list of 1 to {MOST}")
        one_of("sequential: config", "dtype", dtype, ("float32", "float64"))
        own: dict[str, dict[str, ArrayLike]] = {}
        for key, array in parameters.items():
            name, _, short = key.partition(".")
            own.setdefault(name, {})[short] = array
        layers: dict[str, Layer] = {}
        for row in rows:
            kinds = [type(part) for part in row] if isinstance(row, list | tuple) else []
            if kinds != [str, str, dict]:
                raise InputError(
                    f"sequential: config: a layer is {row!r:.60}; expected [name, kind, options]"
                )
            name, kind, options = row
            if name in layers:
                raise InputError(f"sequential: config: the layer {name!r:.60} comes twice")
            layers[name] = from_config(name, kind, options, own.pop(name, {}), dtype)
        if own:
            raise InputError(
                f"sequential: the arrays of {min(own)!r:.60} belong to no layer; expected those of "
                f"{', '.join(layers):.200}"
            )
        chain = cls(layers)
        if chain.dtype != dtype:
            raise InputError(
                f"sequential: config: dtype is {dtype!r} and the layers' is {chain.dtype}"
            )
        return chain

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the config and the weights to one safetensors file, whole or not at all."""
        store.save(path, "Sequential", self.config, self.parameters)


def _refuse_masked(layer: Masking) -> Part:
    def check(x: Array) -> Array:
        y, mask = layer(x[:, None])
        if not mask.all():
            raise InputError(
                f"stream.step: row {int(np.argmin(mask))} is masked (all of it is "
                f"{layer.value:g}); leave such steps out"
            )
        return y[:, 0]

    return check
