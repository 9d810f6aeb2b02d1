"""Batches: every target once, in order, again after a restore; padding, windows, splits."""

from __future__ import annotations

import tracemalloc
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit.data import Batch, PaddedSequences, TextStreams, split, windows
from lstmkit.shapes import InputError


def same(a, b):
    """Two batches, field by field, to the bit."""
    for one, other in zip(a, b, strict=True):
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            np.testing.assert_array_equal(one, other)
        else:
            assert one == other
    return True


def epoch(batches, number=0):
    steps = batches.steps_per_epoch
    return [batches.batch(number * steps + k) for k in range(steps)]


# --- contiguous streams --------------------------------------------------------------------------

corpora = st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.integers(n + 1, 60), st.just(n), st.integers(1, 12))
)


@settings(max_examples=80, deadline=None)
@given(corpus=corpora)
def test_every_token_but_the_first_is_a_target_once_an_epoch(corpus):
    size, rows, steps = corpus
    streams = TextStreams(np.arange(size), rows, steps)  # a token is its own place
    seen = []
    batches = epoch(streams)
    for batch in batches:
        counted = batch.targets != -1
        assert batch.inputs.shape == batch.targets.shape
        assert batch.inputs.shape[0] == rows
        assert 1 <= batch.inputs.shape[1] <= steps
        assert batch.inputs.dtype == batch.targets.dtype == np.int64
        assert batch.count == counted.sum() > 0
        np.testing.assert_array_equal(batch.targets[counted], batch.inputs[counted] + 1)
        assert counted[:, :-1].all()  # only a row's last step may be left over
        seen += list(batch.targets[counted])
    assert sorted(seen) == list(range(1, size))
    assert all(batch.inputs.shape[1] == steps for batch in batches[:-1])
    for one, following in pairwise(batches):  # each row goes on
        np.testing.assert_array_equal(following.inputs[:, 0], one.inputs[:, -1] + 1)


@settings(max_examples=40, deadline=None)
@given(corpus=corpora, position=st.integers(0, 100))
def test_a_set_position_gives_the_batches_that_came_after_it(corpus, position):
    size, rows, steps = corpus
    tokens = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
    starts = [0, size // 2]
    went_through = TextStreams(tokens, rows, steps, starts)
    for _ in range(position):
        next(went_through)
    assert went_through.position == position
    jumped = TextStreams(tokens, rows, steps, starts)
    jumped.position = position
    for one, other in islice(zip(went_through, jumped, strict=True), 5):
        assert same(one, other)
    assert jumped.position == position + 5


@settings(max_examples=60, deadline=None)
@given(corpus=corpora, data=st.data())
def test_the_state_is_forgotten_where_a_document_or_the_epoch_begins(corpus, data):
    size, rows, steps = corpus
    starts = data.draw(st.lists(st.integers(0, size - 1), max_size=6))
    streams = TextStreams(np.arange(size), rows, steps, starts)
    for number in (0, 3):
        for k, batch in enumerate(epoch(streams, number)):
            expected = np.isin(batch.inputs, starts)
            expected[:, 0] |= k == 0
            if batch.reset is None:
                assert not expected.any()
            else:
                assert batch.reset.dtype == bool
                assert batch.reset.any()
                np.testing.assert_array_equal(batch.reset, expected)


def test_two_streams_by_hand():
    # "abcdefgh": targets b..h are seven, so rows of four and three
    streams = TextStreams(np.frombuffer(b"abcdefgh", np.uint8), 2, 3, starts=[5])
    assert streams.carries
    assert streams.steps_per_epoch == 2
    first, second, third = islice(streams, 3)
    as_text = [[bytes(row.astype(np.uint8)) for row in first.inputs]]
    assert as_text == [[b"abc", b"efg"]]
    np.testing.assert_array_equal(first.targets, [[98, 99, 100], [102, 103, 104]])
    np.testing.assert_array_equal(first.reset, [[True, False, False], [True, True, False]])
    np.testing.assert_array_equal(second.inputs, [[100], [104]])
    np.testing.assert_array_equal(second.targets, [[101], [-1]])
    assert (first.count, second.count, second.reset, second.lengths) == (6, 1, None, None)
    assert same(first, third)


def test_a_corpus_is_not_copied(tmp_path):
    tokens = np.random.default_rng(0).integers(0, 256, 4_000_000, dtype=np.uint8)
    starts = np.arange(0, len(tokens), 10_000)
    tracemalloc.start()
    streams = TextStreams(tokens, 64, 100, starts)
    for _ in range(3):
        next(streams)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400_000  # a batch of 6,400 int64 is 51 kB, the corpus 4 MB
    tokens.tofile(tmp_path / "tokens")
    mapped = np.memmap(tmp_path / "tokens", np.uint8, "r")
    assert same(TextStreams(mapped, 64, 100, starts).batch(7), streams.batch(7))


def test_targets_and_inputs_are_the_callers_to_change():
    tokens = np.arange(20)
    streams = TextStreams(tokens, 2, 4)
    batch = streams.batch(0)
    batch.inputs[:] = 0
    batch.targets[:] = 0
    np.testing.assert_array_equal(tokens, np.arange(20))
    assert streams.batch(0).inputs.any()


# --- padded sequences ----------------------------------------------------------------------------


def ragged(lengths, seed=0, features=None, dtype=np.float32):
    rng = np.random.default_rng(seed)
    if features is None:
        return [rng.integers(1, 50, n) for n in lengths]
    return [rng.normal(size=(n, features)).astype(dtype) for n in lengths]


some_lengths = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(
    lengths=some_lengths,
    size=st.integers(1, 5),
    shuffle=st.booleans(),
    bucket=st.integers(0, 3),
    seed=st.integers(0, 50),
)
def test_every_sequence_once_an_epoch_and_whole(lengths, size, shuffle, bucket, seed):
    inputs = ragged(lengths)
    targets = [x % 7 for x in inputs]
    for k, y in enumerate(targets):
        y[::3] = -1  # some classes that do not count
        inputs[k] = np.concatenate([[100 + k], inputs[k]])  # each begins with its own number
        targets[k] = np.concatenate([[0], y])
    batches = PaddedSequences(inputs, targets, size, shuffle=shuffle, bucket=bucket, seed=seed)
    assert not batches.carries
    for number in (0, 1):
        order = []
        for batch in epoch(batches, number):
            n, longest = batch.inputs.shape
            assert n <= size
            assert batch.inputs.dtype == batch.targets.dtype == np.int64
            assert batch.count == (batch.targets != -1).sum()
            assert batch.mask is None
            assert batch.reset is None
            row_lengths = np.full(n, longest) if batch.lengths is None else batch.lengths
            assert (batch.lengths is None) == bool((row_lengths == longest).all())
            assert row_lengths.max() == longest
            for x, y, end in zip(batch.inputs, batch.targets, row_lengths, strict=True):
                order.append(int(x[0]) - 100)
                np.testing.assert_array_equal(x[:end], inputs[order[-1]])
                np.testing.assert_array_equal(y[:end], targets[order[-1]])
                assert not x[end:].any()
                assert (y[end:] == -1).all()
        assert sorted(order) == list(range(len(lengths)))
        if not shuffle and not bucket:
            assert order == sorted(order)


@settings(max_examples=30, deadline=None)
@given(position=st.integers(0, 40), bucket=st.integers(0, 2), seed=st.integers(0, 9))
def test_padded_batches_follow_from_seed_and_position(position, bucket, seed):
    inputs = ragged([3, 1, 4, 1, 5, 9, 2, 6, 5])
    labels = np.arange(9)

    def make(seed):
        return PaddedSequences(inputs, labels, 2, seed=seed, bucket=bucket)

    went_through, jumped = make(seed), make(seed)
    for _ in range(position):
        next(went_through)
    jumped.position = position
    for one, other in islice(zip(went_through, jumped, strict=True), 7):
        assert same(one, other)


def labels_of(batches, number):
    return [int(y) for batch in epoch(batches, number) for y in batch.targets]


def test_epochs_and_seeds_have_orders_of_their_own():
    inputs, labels = ragged([2] * 50), np.arange(50)
    first = PaddedSequences(inputs, labels, 8)
    orders = [labels_of(first, 0), labels_of(first, 1)]
    orders.append(labels_of(PaddedSequences(inputs, labels, 8, seed=1), 0))
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert labels_of(first, 0) == orders[0]


def test_buckets_pad_less_and_shuffle_the_batches():
    lengths = np.random.default_rng(0).integers(1, 100, 400)
    inputs, labels = ragged(lengths), np.zeros(400)

    def padding(batches):
        return sum(b.inputs.size for b in epoch(batches)) / lengths.sum() - 1

    plain = PaddedSequences(inputs, labels, 20)
    bucketed = PaddedSequences(inputs, labels, 20, bucket=10)
    sorted_by_length = PaddedSequences(inputs, labels, 20, bucket=20)
    assert padding(sorted_by_length) < padding(bucketed) < 0.2 < 0.5 < padding(plain)
    widths = [b.inputs.shape[1] for b in epoch(sorted_by_length)]
    assert widths != sorted(widths)
    in_order = PaddedSequences(inputs, labels, 20, bucket=20, shuffle=False)
    widths = [b.inputs.shape[1] for b in epoch(in_order)]
    assert widths == sorted(widths)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_of_real_numbers_get_a_mask(dtype):
    inputs = ragged([3, 1], features=2, dtype=dtype)
    targets = ragged([3, 1], seed=1, features=4, dtype=dtype)
    batch = PaddedSequences(inputs, targets, 2, shuffle=False).batch(0)
    assert (batch.inputs.dtype, batch.inputs.shape) == (dtype, (2, 3, 2))
    assert (batch.targets.dtype, batch.targets.shape) == (dtype, (2, 3, 4))
    np.testing.assert_array_equal(batch.mask, [[True, True, True], [True, False, False]])
    np.testing.assert_array_equal(batch.lengths, [3, 1])
    assert batch.count == 4
    np.testing.assert_array_equal(batch.inputs[1, :1], inputs[1])
    np.testing.assert_array_equal(batch.targets[1, :1], targets[1])
    assert not batch.inputs[1, 1:].any()
    assert not batch.targets[1, 1:].any()


def test_sets_of_keys_are_masked_and_not_taken_for_classes():
    keys = [np.ones((n, 3), np.uint8) for n in (2, 1)]
    batch = PaddedSequences(keys, keys, 2, shuffle=False).batch(0)
    np.testing.assert_array_equal(batch.mask, [[True, True], [True, False]])
    np.testing.assert_array_equal(batch.targets[1], [[1, 1, 1], [0, 0, 0]])


def test_one_target_for_each_sequence():
    inputs = ragged([2, 4, 3])
    labels = PaddedSequences(inputs, [7, -1, 9], 2, shuffle=False)
    first, second = epoch(labels)
    np.testing.assert_array_equal(first.targets, [7, -1])
    assert (first.count, second.count) == (1, 1)
    np.testing.assert_array_equal(second.targets, [9])
    values = PaddedSequences(inputs, np.arange(6.0).reshape(3, 2), 3, shuffle=False).batch(0)
    np.testing.assert_array_equal(values.targets, [[0, 1], [2, 3], [4, 5]])
    assert (values.count, values.mask) == (3, None)


def test_another_number_can_be_ignored():
    inputs = ragged([2, 1])
    batch = PaddedSequences(inputs, [[5, -100], [6]], 2, shuffle=False, ignore=-100).batch(0)
    np.testing.assert_array_equal(batch.targets, [[5, -100], [6, -100]])
    assert batch.count == 2


def test_a_sequence_may_be_empty():
    batch = PaddedSequences([[], [4]], [[], [1]], 2, shuffle=False).batch(0)
    np.testing.assert_array_equal(batch.inputs, [[0], [4]])
    np.testing.assert_array_equal(batch.lengths, [0, 1])
    alone = PaddedSequences([[], [4]], [[], [1]], 1, shuffle=False).batch(0)
    assert (alone.inputs.shape, alone.count) == ((1, 1), 0)
    np.testing.assert_array_equal(alone.lengths, [0])


def test_windows_go_into_batches():
    inputs, targets = windows(np.arange(10.0, dtype=np.float32)[:, None], 4, 2)
    batch = PaddedSequences(inputs, targets, 3, shuffle=False).batch(1)
    np.testing.assert_array_equal(batch.inputs[0, :, 0], [3, 4, 5, 6])
    np.testing.assert_array_equal(batch.targets[0, :, 0], [7, 8])
    assert batch.inputs.dtype == batch.targets.dtype == np.float32
    assert batch.lengths is None


# --- windows and splits --------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    context=st.integers(1, 6),
    horizon=st.integers(1, 4),
    stride=st.integers(1, 5),
    more=st.integers(0, 20),
)
def test_windows_are_views_of_what_follows_what(context, horizon, stride, more):
    total = context + horizon + more
    series = np.random.default_rng(more).normal(size=(total, 3)).astype(np.float32)
    inputs, targets = windows(series, context, horizon, stride)
    begins = range(0, total - context - horizon + 1, stride)
    assert inputs.shape == (len(begins), context, 3)
    assert targets.shape == (len(begins), horizon, 3)
    for k, begin in enumerate(begins):
        np.testing.assert_array_equal(inputs[k], series[begin : begin + context])
        middle = begin + context
        np.testing.assert_array_equal(targets[k], series[middle : middle + horizon])
    assert inputs.dtype == targets.dtype == np.float32
    assert np.shares_memory(inputs, series)
    assert np.shares_memory(targets, series)
    assert not inputs.flags.writeable


@settings(max_examples=50, deadline=None)
@given(
    total=st.integers(2, 50),
    fraction=st.floats(0.01, 0.99),
    seed=st.none() | st.integers(0, 20),
)
def test_a_split_leaves_nothing_out_and_nothing_twice(total, fraction, seed):
    train, validation = split(total, fraction, rng=seed)
    assert sorted([*train, *validation]) == list(range(total))
    assert min(len(train), len(validation)) >= 1
    assert abs(len(validation) - fraction * total) <= 1
    assert list(train) == sorted(train)
    assert list(validation) == sorted(validation)
    if seed is None:
        assert validation[0] == len(train)
    items = [f"document {k}" for k in range(total)]
    parts = split(items, fraction, rng=seed)
    assert parts == ([items[k] for k in train], [items[k] for k in validation])
    table = np.arange(2 * total).reshape(total, 2)
    for part, chosen in zip(split(table, fraction, rng=seed), (train, validation), strict=True):
        np.testing.assert_array_equal(part, table[chosen])


def test_a_split_takes_text_generators_and_draws_at_random():
    assert split("abcdefghij", 0.3) == ("abcdefg", "hij")
    a = split(100, 0.2, rng=np.random.default_rng(5))
    b = split(100, 0.2, rng=5)
    np.testing.assert_array_equal(a[1], b[1])
    assert list(a[1]) != list(range(80, 100))
    table = np.zeros((10, 2))
    assert all(np.shares_memory(part, table) for part in split(table))


# --- errors --------------------------------------------------------------------------------------

X = [np.zeros((3, 2)), np.zeros((1, 2))]

ERRORS = {
    "TextStreams: tokens has 4 tokens; expected at least batch_size + 1 = 5 (give a longer text "
    "or a smaller batch_size)": lambda: TextStreams([1, 2, 3, 4], 4, 10),
    "TextStreams: tokens has 0 tokens; expected at least batch_size + 1 = 2 (give a longer text "
    "or a smaller batch_size)": lambda: TextStreams([], 1, 10),
    "TextStreams: tokens has dtype float64; expected whole numbers": (
        lambda: TextStreams([1.0, 2.0], 1, 1)
    ),
    "TextStreams: tokens has shape (2, 2); expected (tokens,)": (
        lambda: TextStreams([[1, 2], [3, 4]], 1, 1)
    ),
    "TextStreams: tokens has dtype <U3; expected numbers": lambda: TextStreams("abc", 1, 1),
    "TextStreams: tokens is a ragged nested list; expected an array": (
        lambda: TextStreams([[1, 2], [3]], 1, 1)
    ),
    "TextStreams: a token is -3; expected at least 0": lambda: TextStreams([1, -3, 2], 1, 1),
    "TextStreams: batch_size is 0; expected at least 1": lambda: TextStreams([1, 2], 0, 1),
    "TextStreams: sequence_length is 2.0; expected a whole number": (
        lambda: TextStreams([1, 2], 1, 2.0)
    ),
    "TextStreams: starts[1] is 3; expected 0 to 2": (
        lambda: TextStreams([1, 2, 3], 1, 1, starts=[0, 3])
    ),
    "TextStreams: position is -1; expected at least 0": (
        lambda: setattr(TextStreams([1, 2], 1, 1), "position", -1)
    ),
    "PaddedSequences: inputs is empty; expected at least one sequence": (
        lambda: PaddedSequences([], [], 1)
    ),
    "PaddedSequences: inputs[1] has shape (1, 3); expected (time, 2)": (
        lambda: PaddedSequences([X[0], np.zeros((1, 3))], [0, 1], 1)
    ),
    "PaddedSequences: inputs[0] has dtype <U5; expected numbers": (
        lambda: PaddedSequences(["hello"], [1], 1)
    ),
    "PaddedSequences: inputs has sequences (time,) of float64; expected whole numbers there, or "
    "(time, features): x[:, None] has one feature": (lambda: PaddedSequences([[0.5, 1.5]], [1], 1)),
    "PaddedSequences: targets is empty; expected at least one sequence": (
        lambda: PaddedSequences(X, [], 1)
    ),
    "PaddedSequences: targets has 1 entries; expected one for each of the 2 inputs": (
        lambda: PaddedSequences(X, np.zeros(1), 1)
    ),
    "PaddedSequences: targets[1] has 2 steps; expected 1 as in inputs (for one target a sequence "
    "give an array, not a list)": lambda: PaddedSequences(X, [[1, 2, 3], [4, 5]], 1),
    "PaddedSequences: seed is -1; expected at least 0": (
        lambda: PaddedSequences(X, [1, 2], 1, seed=-1)
    ),
    "windows: series has 5 steps; expected at least context + horizon = 6 (give a longer series "
    "or shorter windows)": lambda: windows(np.zeros((5, 1)), 4, 2),
    "windows: series has shape (9,); expected (time, features)": lambda: windows(np.zeros(9), 4, 2),
    "windows: stride is 0; expected at least 1": lambda: windows(np.zeros((9, 1)), 4, 2, 0),
    "split: data has 1 entries; expected at least 2, one for each part (give more)": (
        lambda: split(["only"])
    ),
    "split: fraction is 1.0; expected above 0 and below 1": lambda: split(10, 1.0),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(InputError) as caught:
        ERRORS[message]()
    assert str(caught.value) == message


def test_a_batch_is_made_by_name():
    batch = Batch(inputs=np.zeros((1, 2)), targets=np.zeros(1), count=1)
    assert (batch.count, batch.lengths, batch.reset, batch.mask) == (1, None, None, None)
