"""The network of an estimator, and the batches that it learns from.

    sequence ─ LSTM ─ (pooling over the steps) ─ (dropout) ─ Linear ─ one prediction a sequence
    sequence ─ LSTM ─ (dropout) ─ Linear ─ one prediction a step

It sees numbers that have been scaled and are all there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lstmkit import engine
from lstmkit.data import Batch, Batches
from lstmkit.layers import LSTM, Dropout, Linear
from lstmkit.shapes import Array
from lstmkit.tasks.sequences import tokens_of

POOLINGS = ("last", "mean", "max")


class Network:
    """An LSTM with a Linear on what is pooled from its steps, or on every step.

    Parameters
    ----------
    lstm : LSTM
    head : Linear
    pooling : {"last", "mean", "max"} or None
        What the head sees of a sequence: where each direction ends reading, the mean or the
        maximum over its steps; None for every step, each alone.
    dropout : float
        Rate of dropout on what the head sees.
    """

    def __init__(self, lstm: LSTM, head: Linear, pooling: str | None, dropout: float) -> None:
        self.lstm, self.head, self.pooling = lstm, head, pooling
        self.dropout = Dropout(dropout)

    @property
    def parameters(self) -> dict[str, Array]:
        """The weights by name, shared."""
        return _prefixed("lstm", self.lstm.parameters) | _prefixed("head", self.head.parameters)

    def __call__(
        self, inputs: Array, state: Any = None, lengths: Any = None, reset: Any = None
    ) -> tuple[Array, None]:
        """Return the predictions: (N, K) or, for every step, (N, T, K)."""
        packing = engine.Packing(len(inputs), inputs.shape[1], lengths, engine.empty)
        y, (h, _), _ = self.lstm.stack.run(self.lstm.parameters, inputs, None, packing)
        return self.head(self._pool(packing, y, h)[0]), None

    def forward(
        self,
        inputs: Array,
        state: Any = None,
        lengths: Any = None,
        reset: Any = None,
        rng: np.random.Generator | None = None,
    ) -> tuple[Array, None, Any]:
        """Return the predictions and the tape; with a rng, dropout is on."""
        packing = engine.Packing(len(inputs), inputs.shape[1], lengths, engine.empty)
        y, (h, _), lstm = self.lstm.stack.run(
            self.lstm.parameters, inputs, None, packing, None, rng, True
        )
        pooled, place = self._pool(packing, y, h)
        pooled, dropped = self.dropout.forward(pooled, rng)
        prediction, head = self.head.forward(pooled)
        return prediction, None, (packing, h.shape, lstm, place, dropped, head)

    def backward(self, tape: Any, dprediction: Array) -> dict[str, Array]:
        """Return the gradients, named like `parameters`."""
        packing, shape, lstm, place, dropped, head = tape
        dpooled, dhead = self.head.backward(head, dprediction)
        dpooled = self.dropout.backward(dropped, dpooled)
        dy, dh = self._pool_back(packing, shape, place, dpooled)
        dstate = None
        if dh is not None:
            dstate = dh, np.zeros((*shape[:2], self.lstm.hidden_size), dh.dtype)
        _, _, dlstm = self.lstm.stack.run_back(self.lstm.parameters, lstm, dy, dstate)
        return _prefixed("lstm", dlstm) | _prefixed("head", dhead)

    def _pool(self, packing: engine.Packing, y: Array, h: Array) -> tuple[Array, Any]:
        """From packed y (tokens, D·H) and the final h to what the head sees; and where it stood."""
        if self.pooling == "last":
            ends = h[-self.lstm.stack.directions :].swapaxes(0, 1)
            return np.ascontiguousarray(ends).reshape(packing.batch, -1), None
        steps = packing.unpack(y)
        if self.pooling is None:
            return steps, None
        if self.pooling == "mean":
            return steps.sum(axis=1) / _lengths(packing, steps.dtype), None
        if not packing.full:
            steps[_past_end(packing)] = -np.inf
        place = steps.argmax(axis=1)[:, None]
        return np.take_along_axis(steps, place, axis=1)[:, 0], place

    def _pool_back(
        self, packing: engine.Packing, shape: tuple[int, ...], place: Any, dpooled: Array
    ) -> tuple[Array, Array | None]:
        """Return the gradient in packed y, and in the final h where that was pooled."""
        directions, size = self.lstm.stack.directions, self.lstm.output_size
        if self.pooling == "last":
            dy = np.zeros((packing.tokens, size), dpooled.dtype)
            dh = np.zeros(shape, dpooled.dtype)
            ends = dpooled.reshape(packing.batch, directions, -1)
            dh[-directions:] = ends.swapaxes(0, 1)
            return dy, dh
        if self.pooling is None:
            return packing.pack(dpooled), None
        dsteps = np.zeros((packing.batch, packing.steps, size), dpooled.dtype)
        if self.pooling == "mean":
            dsteps += (dpooled / _lengths(packing, dpooled.dtype))[:, None]
        else:
            np.put_along_axis(dsteps, place, dpooled[:, None], axis=1)
        return packing.pack(dsteps), None


def _lengths(packing: engine.Packing, dtype: Any) -> Array:
    """Return the steps of each sequence, (N, 1)."""
    found = np.full((packing.batch, 1), packing.steps, dtype)
    if not packing.full:
        found[packing.order, 0] = packing.sorted_lengths
    return found


def _past_end(packing: engine.Packing) -> NDArray[np.bool_]:
    past: NDArray[np.bool_] = np.arange(packing.steps) >= _lengths(packing, np.int64)
    return past


def _prefixed(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


class SequenceBatches(Batches):
    """Batches of flat sequences, cut by indexing.

    Like `lstmkit.data.PaddedSequences`, but of one array, and with no loop over sequences. What
    stands past a sequence's end is whatever follows it: ``lengths`` says that it does not count.

    Parameters
    ----------
    values : (tokens, F)
        The steps of all sequences, one after the other.
    lengths : (n,) int64
        Steps of each.
    targets : (n, ...), or (tokens, ...) with ``steps``
        Of each sequence, or of each step. Whole numbers (tokens,) are classes; -1 does not count.
    steps : bool
        Whether every step has its target.
    batch_size : int
    seed : int, optional
        Of the order, another in every epoch; None for the order of the lengths.
    """

    carries = False

    def __init__(
        self,
        values: Array,
        lengths: NDArray[np.int64],
        targets: Array,
        *,
        steps: bool,
        batch_size: int,
        seed: int | None = None,
    ) -> None:
        self._values, self._lengths, self._targets = values, lengths, targets
        self._starts = np.cumsum(lengths) - lengths
        self._steps, self._size, self._seed = steps, batch_size, seed
        self._classes = targets.dtype.kind in "iu"
        self._equal = bool((lengths == lengths[0]).all())
        if self._equal:  # then a batch is rows of one array
            shape = len(lengths), int(lengths[0])
            self._values = values.reshape(*shape, *values.shape[1:])
            if steps:
                self._targets = targets.reshape(*shape, *targets.shape[1:])
        self.steps_per_epoch = -(-len(lengths) // batch_size)
        self._plan: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def batch(self, position: int) -> Batch:
        """Return the batch at a position; the same one for the same position."""
        epoch, step = divmod(position, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._order(epoch))
        rows = self._plan[1][step]
        if self._equal:
            inputs, targets = self._values[rows], self._targets[rows]
            count = targets.shape[0] * (targets.shape[1] if self._steps else 1)
            return Batch(inputs, targets, count)
        lengths = self._lengths[rows]
        longest = int(lengths.max())
        index = self._starts[rows][:, None] + np.arange(longest)
        inputs = self._values.take(index, axis=0, mode="clip")
        ragged = bool((lengths < longest).any())
        known = lengths if ragged else None
        if not self._steps:
            return Batch(inputs, self._targets[rows], len(rows), known)
        targets, mask = self._targets.take(index, axis=0, mode="clip"), None
        if ragged:
            mask = np.arange(longest) < lengths[:, None]
            if self._classes:
                targets[~mask], mask = -1, None
        return Batch(inputs, targets, int(lengths.sum()), known, None, mask)

    def _order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the sequences of each batch of an epoch: alike in length, in random order."""
        order = np.arange(len(self._lengths))
        rng = None if self._seed is None else np.random.default_rng((self._seed, epoch))
        if rng is not None:
            rng.shuffle(order)
        if not self._equal:
            pool = len(order) if rng is None else _POOL * self._size
            for k in range(0, len(order), pool):
                part = order[k : k + pool]
                order[k : k + pool] = part[np.argsort(self._lengths[part], kind="stable")]
        batches = [order[k : k + self._size] for k in range(0, len(order), self._size)]
        if rng is not None and not self._equal:
            batches = [batches[k] for k in rng.permutation(len(batches))]
        return batches


_POOL = 16
"""Batches among which sequences are sorted by length."""

_TOKENS = 1 << 14
"""Steps that are run at once in inference."""


def infer(network: Network, values: Array, lengths: NDArray[np.int64], steps: bool) -> Array:
    """Return the predictions for flat sequences: (n, K), or (tokens, K) for every step."""
    size = network.head.output_size
    starts = np.cumsum(lengths) - lengths
    found = np.empty((len(values) if steps else len(lengths), size), values.dtype)
    order = np.argsort(-lengths, kind="stable")
    at = 0
    while at < len(order):
        longest = int(lengths[order[at]])
        rows = order[at : at + max(1, _TOKENS // longest)]
        own = lengths[rows]
        index = starts[rows][:, None] + np.arange(longest)
        inputs = values.take(index, axis=0, mode="clip")
        prediction, _ = network(inputs, None, own if (own < longest).any() else None)
        if steps:
            real = np.arange(longest) < own[:, None]
            found[tokens_of(starts[rows], own)] = prediction[real]
        else:
            found[rows] = prediction
        at += len(rows)
    return found
