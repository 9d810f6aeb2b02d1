"""Batches for training: contiguous streams of text, padded sequences, windows of a series.

A source of batches (`TextStreams`, `PaddedSequences`) is a function from a position, the number
of batches given so far, to the next batch. It holds nothing else that changes: setting
``position`` back gives the same batches again, which is how a run resumes. Iterating gives batches
forever, ``steps_per_epoch`` of them in an epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeVar, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lstmkit.shapes import (
    Array,
    InputError,
    check_shape,
    integer_array,
    positive_integer,
    real_array,
    real_number,
)

Item = TypeVar("Item")


class Batch(NamedTuple):
    """What one training step sees: N sequences of T steps.

    Attributes
    ----------
    inputs : (N, T) int64 tokens, or (N, T, I) real numbers
    targets
        What the model should answer: (N, T, ...) one for each step, or (N, ...) one for each
        sequence. A class that does not count is ``ignore``.
    count : int
        How many targets count: the weight of this batch in a mean over batches.
    lengths : (N,) int64, optional
        The real steps of each sequence; None where all have T.
    reset : (N, T) booleans, optional
        True where the state is forgotten before the step; None where it never is.
    mask : (N, T) booleans, optional
        True at the steps that count, for the ``mask`` of a loss. Given where targets are padded and
        are not classes, so that no ``ignore`` can stand in them.
    """

    inputs: Array
    targets: Array
    count: int  # type: ignore[assignment]  # in the place of tuple.count, on purpose
    lengths: NDArray[np.int64] | None = None
    reset: NDArray[np.bool_] | None = None
    mask: NDArray[np.bool_] | None = None


class Batches:
    """A source of batches: what `TextStreams` and `PaddedSequences` have in common.

    Attributes
    ----------
    carries : bool
        Whether the state at the end of one batch is the one before the next.
    steps_per_epoch : int
        How many batches there are until every target has been given once.
    position : int
        How many batches have been given so far. May be set, to any number of at least 0.
    """

    carries: bool
    steps_per_epoch: int
    _position = 0

    def batch(self, position: int) -> Batch:
        """Return the batch at a position; the same one for the same position."""
        raise NotImplementedError

    @property
    def position(self) -> int:
        """How many batches have been given so far."""
        return self._position

    @position.setter
    def position(self, value: int) -> None:
        self._position = positive_integer(type(self).__name__, "position", value, least=0)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch = self.batch(self._position)
        self._position += 1
        return batch


class TextStreams(Batches):
    """Contiguous streams of one long text, for truncated backpropagation through time.

    The text is cut into ``batch_size`` streams of equal length (to one token), which stand side by
    side as the rows of every batch; the next batch goes on where the last one ended, so the
    model's state is carried. The target of each token is the one after it. In an epoch every token
    but the very first is a target exactly once. The last batch of an epoch has only the steps that
    are left; a row one token shorter than the others ends in the target -1, which does not count.
    Every epoch starts with a reset of all rows.

    Parameters
    ----------
    tokens : (M,) integers, 0 or more
        The text. It is kept as it is, in its own dtype (uint8 for bytes), and never copied; a
        memory map stays one. Batches hold int64.
    batch_size
        The number of streams N.
    sequence_length
        The number of steps T of a batch, over which gradients flow back.
    starts : integers, optional
        Where documents begin: the indices of their first tokens, in any order. The state is
        forgotten before such a token is read. It still is the target of the token before it.

    Raises
    ------
    InputError
        If tokens are not whole numbers of at least 0 in one axis, are too few to give every stream
        one target (``batch_size + 1``), or a start is not an index of a token.

    Examples
    --------
    >>> streams = TextStreams(np.arange(10, 21), batch_size=2, sequence_length=3)
    >>> streams.steps_per_epoch
    2
    >>> first, second = next(streams), next(streams)
    >>> first.inputs, first.targets
    (array([[10, 11, 12],
           [15, 16, 17]]), array([[11, 12, 13],
           [16, 17, 18]]))
    >>> second.targets, second.count
    (array([[14, 15],
           [19, 20]]), 4)
    """

    carries = True

    def __init__(
        self,
        tokens: ArrayLike,
        batch_size: int,
        sequence_length: int,
        starts: ArrayLike | None = None,
    ) -> None:
        self.batch_size = positive_integer("TextStreams", "batch_size", batch_size)
        self.sequence_length = positive_integer("TextStreams", "sequence_length", sequence_length)
        self._tokens = _numbers("TextStreams", "tokens", tokens)
        if self._tokens.dtype.kind not in "iu" and self._tokens.size:
            raise InputError(
                f"TextStreams: tokens has dtype {self._tokens.dtype}; expected whole numbers"
            )
        check_shape("TextStreams", "tokens", self._tokens, ("tokens",))
        predictions = len(self._tokens) - 1
        if predictions < self.batch_size:
            raise InputError(
                f"TextStreams: tokens has {len(self._tokens)} tokens; expected at least batch_size "
                f"+ 1 = {self.batch_size + 1} (give a longer text or a smaller batch_size)"
            )
        if self._tokens.min() < 0:
            raise InputError(f"TextStreams: a token is {self._tokens.min()}; expected at least 0")
        # The first `longer` streams have one target more than the others.
        shortest, longer = divmod(predictions, self.batch_size)
        row = np.arange(self.batch_size)
        self._offsets = row * shortest + np.minimum(row, longer)
        self._lengths = shortest + (row < longer)
        self._starts = np.zeros(0, np.int64)
        if starts is not None:
            self._starts = np.unique(
                integer_array("TextStreams", "starts", starts, ("documents",), 0, predictions)
            )
        self.steps_per_epoch = -(-int(self._lengths[0]) // self.sequence_length)

    def batch(self, position: int) -> Batch:
        """Return the batch at a position; the same one for the same position."""
        first = position % self.steps_per_epoch * self.sequence_length
        steps = min(self.sequence_length, int(self._lengths[0]) - first)
        begin = self._offsets + first
        index = begin[:, None] + np.arange(steps)
        inputs = self._tokens.take(index).astype(np.int64)
        targets = self._tokens.take(index + 1, mode="clip").astype(np.int64)
        over = self._lengths < first + steps  # these rows have no target left for the last step
        targets[over, -1] = -1
        return Batch(
            inputs, targets, targets.size - int(over.sum()), None, self._reset(begin, steps)
        )

    def _reset(self, begin: NDArray[np.int64], steps: int) -> NDArray[np.bool_] | None:
        """Say where in the given rows of tokens a document or the epoch begins."""
        low, high = np.searchsorted(self._starts, (begin, begin + steps))
        epoch = begin[0] == 0
        if not epoch and (low == high).all():
            return None
        reset = np.zeros((self.batch_size, steps), np.bool_)
        for row in np.flatnonzero(low < high):
            reset[row, self._starts[low[row] : high[row]] - begin[row]] = True
        reset[:, 0] |= epoch
        return reset


class PaddedSequences(Batches):
    """Sequences of different lengths, padded to the longest of their batch.

    Each sequence is in one batch of every epoch; the last batch of an epoch may be smaller. The
    order of an epoch depends on ``seed`` and on the number of the epoch, and on nothing else.

    Parameters
    ----------
    inputs : K sequences
        Each (T_k,) integers, the tokens, or (T_k, I) real numbers. Padded with 0.
    targets
        An *array* (K, ...) has one target for each sequence. A *list* of K arrays (T_k, ...) has
        one for each step; those of (T_k,) integers are classes and are padded with ``ignore``,
        any others are padded with 0 and the batch has a ``mask``. A list of K numbers is taken
        as an array.
    batch_size
        The number of sequences N of a batch.
    shuffle
        Whether every epoch has its own order; else always the given one.
    seed
        At least 0.
    bucket
        In pools of this many batches sequences are sorted by length before they are put into
        batches, so that a batch pads less; 0 for no sorting. The order of the batches is shuffled
        afterwards.
    ignore
        The class that does not count.

    Raises
    ------
    InputError
        If there are no sequences, or one does not fit the others or its targets.

    Examples
    --------
    >>> batches = PaddedSequences(
    ...     [[5, 6, 7], [8]], [[1, 0, 1], [1]], batch_size=2, shuffle=False
    ... )
    >>> batch = next(batches)
    >>> batch.inputs, batch.targets, batch.lengths, batch.count
    (array([[5, 6, 7],
           [8, 0, 0]]), array([[ 1,  0,  1],
           [ 1, -1, -1]]), array([3, 1]), 4)
    """

    carries = False

    def __init__(
        self,
        inputs: Sequence[ArrayLike] | Array,
        targets: Sequence[ArrayLike] | Array,
        batch_size: int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        bucket: int = 0,
        ignore: int = -1,
    ) -> None:
        self.batch_size = positive_integer("PaddedSequences", "batch_size", batch_size)
        self.shuffle = shuffle
        self.seed = positive_integer("PaddedSequences", "seed", seed, least=0)
        self.bucket = positive_integer("PaddedSequences", "bucket", bucket, least=0)
        self.ignore = ignore
        self._inputs = _sequences("inputs", inputs)
        if self._inputs[0].ndim == 1 and self._inputs[0].dtype.kind != "i":
            raise InputError(
                f"PaddedSequences: inputs has sequences (time,) of {self._inputs[0].dtype}; "
                "expected whole numbers there, or (time, features): x[:, None] has one feature"
            )
        self._lengths = np.array([len(x) for x in self._inputs], np.int64)
        self._targets: Array | list[Array]
        if isinstance(targets, np.ndarray) or (len(targets) and np.ndim(targets[0]) == 0):
            self._targets = _numbers("PaddedSequences", "targets", targets)
            self._classes = self._targets.dtype.kind in "iu"
        else:
            self._targets = _sequences("targets", targets)
            self._classes = self._targets[0].ndim == 1 and self._targets[0].dtype.kind == "i"
        if len(self._targets) != len(self._inputs):
            raise InputError(
                f"PaddedSequences: targets has {len(self._targets)} entries; expected one for each "
                f"of the {len(self._inputs)} inputs"
            )
        if isinstance(self._targets, list):
            for k, (x, target) in enumerate(zip(self._inputs, self._targets, strict=True)):
                if len(x) != len(target):
                    raise InputError(
                        f"PaddedSequences: targets[{k}] has {len(target)} steps; expected {len(x)} "
                        "as in inputs (for one target a sequence give an array, not a list)"
                    )
        self.steps_per_epoch = -(-len(self._inputs) // self.batch_size)
        self._plan: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    def batch(self, position: int) -> Batch:
        """Return the batch at a position; the same one for the same position."""
        epoch, step = divmod(position, self.steps_per_epoch)
        if self._plan[0] != epoch:
            self._plan = (epoch, self._order(epoch))
        rows = self._plan[1][step]
        lengths = self._lengths[rows]
        longest = max(1, int(lengths.max()))
        inputs = _padded([self._inputs[k] for k in rows], longest, 0)
        ragged = bool((lengths < longest).any())
        mask = None
        if isinstance(self._targets, list):
            own = [self._targets[k] for k in rows]
            targets = _padded(own, longest, self.ignore if self._classes else 0)
            count = int(lengths.sum())
            if ragged and not self._classes:
                mask = np.arange(longest) < lengths[:, None]
        else:
            targets = self._targets[rows]
            count = len(rows)
        if self._classes:
            count = int(np.count_nonzero(targets != self.ignore))
        return Batch(inputs, targets, count, lengths if ragged else None, None, mask)

    def _order(self, epoch: int) -> list[NDArray[np.int64]]:
        """Return the sequences of each batch of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        order = np.arange(len(self._inputs))
        if self.shuffle:
            rng.shuffle(order)
        if self.bucket:
            pool = self.bucket * self.batch_size
            for k in range(0, len(order), pool):
                part = order[k : k + pool]
                order[k : k + pool] = part[np.argsort(self._lengths[part], kind="stable")]
        batches = [order[k : k + self.batch_size] for k in range(0, len(order), self.batch_size)]
        if self.bucket and self.shuffle:
            batches = [batches[k] for k in rng.permutation(len(batches))]
        return batches


def windows(series: ArrayLike, context: int, horizon: int, stride: int = 1) -> tuple[Array, Array]:
    """Cut a series into pairs of a stretch and what followed it, for forecasting.

    Parameters
    ----------
    series : (T, F) real numbers
        F features at T times. One feature: ``series[:, None]``.
    context
        How many steps the model sees.
    horizon
        How many steps follow.
    stride
        How many steps lie between the beginnings of two windows.

    Returns
    -------
    inputs : (n, context, F)
    targets : (n, horizon, F)
        Read-only views of the series, not copies, with the series' dtype where that is a floating
        one, else float64; n = 1 + (T - context - horizon) // stride.

    Raises
    ------
    InputError
        If the series has not two axes or is shorter than context + horizon.

    Examples
    --------
    >>> inputs, targets = windows(np.arange(6.0)[:, None], context=3, horizon=1)
    >>> inputs[:, :, 0]
    array([[0., 1., 2.],
           [1., 2., 3.],
           [2., 3., 4.]])
    >>> targets[:, :, 0].T
    array([[3., 4., 5.]])
    """
    context = positive_integer("windows", "context", context)
    horizon = positive_integer("windows", "horizon", horizon)
    stride = positive_integer("windows", "stride", stride)
    array = real_array("windows", "series", series, ("time", "features"))
    width = context + horizon
    if len(array) < width:
        raise InputError(
            f"windows: series has {len(array)} steps; expected at least context + horizon = "
            f"{width} (give a longer series or shorter windows)"
        )
    view = np.lib.stride_tricks.sliding_window_view(array, width, axis=0)[::stride]
    view = view.transpose(0, 2, 1)
    return view[:, :context], view[:, context:]


@overload
def split(
    data: int, fraction: float = ..., *, rng: np.random.Generator | int | None = ...
) -> tuple[NDArray[np.int64], NDArray[np.int64]]: ...
@overload
def split(
    data: Array, fraction: float = ..., *, rng: np.random.Generator | int | None = ...
) -> tuple[Array, Array]: ...
@overload
def split(
    data: Sequence[Item], fraction: float = ..., *, rng: np.random.Generator | int | None = ...
) -> tuple[Sequence[Item], Sequence[Item]]: ...
def split(data: Any, fraction: float = 0.1, *, rng: np.random.Generator | int | None = None) -> Any:
    """Split data into a part to train on and a part to validate on.

    Parameters
    ----------
    data : int, array or sequence
        A number n stands for the indices 0 to n - 1: with them several arrays can be split alike.
        Of an array the first axis is split.
    fraction
        The share of the validation part, above 0 and below 1. It is rounded to whole entries, and
        neither part is left empty.
    rng
        With a generator or a seed the validation part is drawn at random; without, it is the end
        of the data, which is right for a series or a text. Both parts keep their order.

    Returns
    -------
    train, validation
        Of an array the parts are arrays, without ``rng`` views; of another sequence they are its
        slices, with ``rng`` lists.

    Raises
    ------
    InputError
        If there are fewer than two entries.

    Examples
    --------
    >>> split(["a", "b", "c", "d"], 0.25)
    (['a', 'b', 'c'], ['d'])
    >>> train, validation = split(5, 0.4, rng=0)
    >>> train, validation
    (array([2, 3, 4]), array([0, 1]))
    """
    fraction = real_number("split", "fraction", fraction, 0, 1, "low high")
    if isinstance(data, int | np.integer):
        data = np.arange(data)
    total = len(data)
    if total < 2:
        raise InputError(
            f"split: data has {total} entries; expected at least 2, one for each part (give more)"
        )
    kept = min(max(total - round(fraction * total), 1), total - 1)
    if rng is None:
        return data[:kept], data[kept:]
    order = np.random.default_rng(rng).permutation(total)
    parts = np.sort(order[:kept]), np.sort(order[kept:])
    if isinstance(data, np.ndarray):
        return data[parts[0]], data[parts[1]]
    return [data[k] for k in parts[0]], [data[k] for k in parts[1]]


def _numbers(owner: str, name: str, value: Any) -> Array:
    """Return real numbers as an array of their own shape and dtype, without a copy of an array."""
    try:
        array = np.asarray(value)
    except ValueError:
        raise InputError(f"{owner}: {name} is a ragged nested list; expected an array") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"{owner}: {name} has dtype {array.dtype}; expected numbers")
    return array


def _sequences(name: str, values: Sequence[ArrayLike] | Array) -> list[Array]:
    """Return arrays (T_k, ...) that have everything in common but their lengths.

    Tokens and classes, whole numbers (T_k,), become int64.
    """
    arrays = [_numbers("PaddedSequences", f"{name}[{k}]", x) for k, x in enumerate(values)]
    if not arrays:
        raise InputError(f"PaddedSequences: {name} is empty; expected at least one sequence")
    tail = arrays[0].shape[1:]
    for k, array in enumerate(arrays):
        check_shape("PaddedSequences", f"{name}[{k}]", array, ("time", *tail))
    dtype = np.result_type(*([a.dtype for a in arrays if a.size] or [np.dtype(np.int64)]))
    if dtype.kind in "iu" and not tail:
        dtype = np.dtype(np.int64)
    return [array.astype(dtype, copy=False) for array in arrays]


def _padded(arrays: list[Array], longest: int, value: float) -> Array:
    """Return the arrays (T_k, ...) as one (N, longest, ...), with the value past their ends."""
    batch = np.full((len(arrays), longest, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(batch, arrays, strict=True):
        row[: len(array)] = array
    return batch
