"""Streams: state, reset, snapshot."""

import contextlib

import numpy as np
import pytest

from lstmkit import LSTM
from lstmkit.shapes import InputError

pytestmark = pytest.mark.usefixtures("twin")


@pytest.fixture
def stream():
    stream = LSTM(3, 4, num_layers=2, seed=0, learn_initial_state=True).stream(batch_size=3)
    return stream


def inputs(steps, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, 3, 3)).astype(np.float32)


def test_a_snapshot_brings_back_the_same_bits(stream):
    x = inputs(6)
    for t in range(3):
        stream.step(x[t])
    snapshot = stream.snapshot()
    first = [stream.step(x[t]) for t in range(3, 6)]
    stream.restore(snapshot)
    second = [stream.step(x[t]) for t in range(3, 6)]
    np.testing.assert_array_equal(first, second)


def test_reset_of_single_rows_leaves_the_others(stream):
    x = inputs(4)
    for t in range(2):
        stream.step(x[t])
    kept = stream.state
    stream.reset(rows=[1])
    for now, old in zip(stream.state, kept, strict=True):
        np.testing.assert_array_equal(now[:, [0, 2]], old[:, [0, 2]])
        assert not now[:, 1].any()
    y = stream.step(x[2])
    stream.reset()
    np.testing.assert_array_equal(stream.step(x[2])[1], y[1])


def test_a_stream_starts_from_the_learned_state():
    lstm = LSTM(3, 4, seed=0, learn_initial_state=True)
    lstm.parameters["h_0_l0"][:] = 0.5
    lstm.parameters["c_0_l0"][:] = -0.5
    x = inputs(1)
    np.testing.assert_allclose(lstm.stream(3).step(x[0]), lstm(x[0][:, None])[0][:, 0], rtol=1e-6)


def test_the_state_can_be_set_and_is_never_shared(stream):
    h, c = stream.state
    h[:] = c[:] = 7
    assert not stream.state[0].any()
    stream.state = (h, c)
    h[:] = 0
    assert (stream.state[0] == 7).all()
    y = stream.step(inputs(1)[0])
    before = stream.state[0].copy()
    y[:] = 99
    np.testing.assert_array_equal(stream.state[0], before)


def test_rows_of_a_stream_do_not_mix(stream):
    x = inputs(3)
    y = [stream.step(x[t]) for t in range(3)]
    stream.reset()
    other = x.copy()
    other[:, 0] += 1
    again = [stream.step(other[t]) for t in range(3)]
    np.testing.assert_array_equal(np.array(y)[:, 1:], np.array(again)[:, 1:])
    assert (np.array(y)[:, 0] != np.array(again)[:, 0]).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda s: s.step(np.zeros((2, 3))),
            "stream.step: x_t has shape (2, 3); expected (batch=3",
        ),
        (
            lambda s: s.step(np.zeros((3, 3)), np.zeros((3, 4))),
            "stream.step: out is no C-contiguous, writable float32 array of shape (3, 4)",
        ),
        (
            lambda s: s.step(np.zeros((3, 3)), np.zeros((4, 3), np.float32).T),
            "stream.step: out is no C-contiguous, writable float32 array of shape (3, 4)",
        ),
        (lambda s: s.step(np.zeros(3)), "stream.step: x_t has shape (3,); expected (batch=3"),
        (lambda s: setattr(s, "state", 5), "stream: state is not a pair of arrays (h, c)"),
        (lambda s: s.reset(rows=[3]), "stream.reset: rows[0] is 3; expected 0 to 2"),
        (lambda s: s.restore(b"nonsense"), "stream.restore: snapshot is damaged"),
        (lambda s: s.restore(s.snapshot()[:-1]), "stream.restore: snapshot is damaged"),
        (
            lambda s: s.restore(LSTM(3, 5).stream().snapshot()),
            "stream.restore: h has shape (1, 1, 5); expected (2, 3, 4)",
        ),
        (
            lambda s: s.restore(LSTM(3, 4, 2, dtype="float64").stream(3).snapshot()),
            "stream.restore: h has dtype float64; expected float32",
        ),
    ],
)
def test_errors(stream, call, message):
    before = stream.state
    with pytest.raises(InputError) as caught:
        call(stream)
    assert str(caught.value).startswith(message)
    np.testing.assert_array_equal(stream.state[0], before[0])


def test_a_damaged_snapshot_never_gets_in(stream):
    whole = stream.snapshot()
    rng = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for k in rng.integers(0, len(whole), 3):
            damaged[k] = rng.integers(256)
        with contextlib.suppress(InputError):
            stream.restore(bytes(damaged[: rng.integers(1, len(whole) + 1)]))
        assert stream.state[0].shape == (2, 3, 4)
