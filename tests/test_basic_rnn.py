from __future__ import annotations

import numpy as np
import pytest

from lstmkit.basic_rnn import BasicRNN, run
from lstmkit.shapes import InputError
from lstmkit.textbook import rnn_backward, rnn_forward


def case(inputs=3, hidden=4, batch=2, steps=6, seed=0):
    rng = np.random.default_rng(seed)
    rnn = BasicRNN(inputs, hidden, dtype="float64", seed=rng)
    rnn.parameters["bias"][:] = rng.normal(size=hidden)
    return rnn, rng.normal(size=(batch, steps, inputs)), rng.normal(size=(batch, hidden)), rng


def textbook(rnn):
    ours = rnn.parameters
    return {"W_xh": ours["weight_ih"], "W_hh": ours["weight_hh"], "b_h": ours["bias"]}


def test_every_sequence_is_the_textbooks():
    rnn, x, h0, _ = case()
    y, (h,), _ = rnn.forward(x, (h0,))
    for row in range(len(x)):
        want = rnn_forward(x[row], h0[row], textbook(rnn))
        np.testing.assert_allclose(y[row], want, rtol=1e-12)
        np.testing.assert_allclose(h[row], want[-1], rtol=1e-12)


@pytest.mark.parametrize("reset", [None, [[0, 0, 1, 1, 0, 0], [1, 0, 0, 0, 0, 1]]])
def test_the_gradients_are_those_of_the_complex_step(reset):
    rnn, x, h0, rng = case()
    dy, dh = rng.normal(size=(2, 6, 4)), rng.normal(size=(2, 4))
    _, _, tape = rnn.forward(x, (h0,), reset)
    kept = None if reset is None else 1.0 - np.array(reset).T[..., None]
    dx, (dh0,), grads = rnn.backward(tape, dy, (dh,))
    found = {"x": dx, "h": dh0, **grads}
    arrays = {"x": x, "h": h0, **rnn.parameters}
    for name, array in arrays.items():
        want = np.empty(array.shape)
        for at in np.ndindex(array.shape):
            nudged = {k: a.astype(complex) for k, a in arrays.items()}
            nudged[name][at] += 1e-30j
            states = run(nudged, nudged["x"], nudged["h"], kept)
            loss = (states[1:].swapaxes(0, 1) * dy).sum() + (states[-1] * dh).sum()
            want[at] = loss.imag / 1e-30
        error = np.linalg.norm(found[name] - want) / np.linalg.norm(want)
        assert error <= 1e-12, (name, error)


def test_a_reset_begins_a_sequence_anew():
    rnn, x, h0, _ = case()
    reset = np.zeros(x.shape[:2], bool)
    reset[1, 2] = True
    y, _, _ = rnn.forward(x, (h0,), reset)
    plain, _, _ = rnn.forward(x, (h0,))
    anew, _, _ = rnn.forward(x[1:, 2:])
    np.testing.assert_allclose(y[0], plain[0], rtol=1e-14)
    np.testing.assert_allclose(y[1, :2], plain[1, :2], rtol=1e-14)
    np.testing.assert_allclose(y[1:, 2:], anew, rtol=1e-14)


def test_a_sequence_in_pieces_is_the_same_sequence():
    rnn, x, h0, rng = case()
    y, _, tape = rnn.forward(x, (h0,))
    first, state, tape1 = rnn.forward(x[:, :2], (h0,))
    second, _, tape2 = rnn.forward(x[:, 2:], state)
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), y, rtol=1e-14)
    dy = rng.normal(size=y.shape)
    _, whole, _ = rnn.backward(tape, dy)
    _, between, _ = rnn.backward(tape2, dy[:, 2:])
    _, start, _ = rnn.backward(tape1, dy[:, :2], between)
    np.testing.assert_allclose(start[0], whole[0], rtol=1e-12)


def test_the_gradients_without_dy_are_those_of_the_last_state():
    rnn, x, h0, rng = case()
    _, _, tape = rnn.forward(x, (h0,))
    dh = rng.normal(size=h0.shape)
    _, (found,), _ = rnn.backward(tape, None, (dh,))
    for row in range(2):
        dstates = np.zeros((6, 4))
        dstates[-1] = dh[row]
        _, want, _ = rnn_backward(x[row], h0[row], textbook(rnn), dstates)
        np.testing.assert_allclose(found[row], want, rtol=1e-12)


def test_the_start_is_seeded_and_orthogonal():
    one, same, other = (BasicRNN(2, 8, seed=seed).parameters for seed in (3, 3, 4))
    np.testing.assert_array_equal(one["weight_hh"], same["weight_hh"])
    assert not np.array_equal(one["weight_hh"], other["weight_hh"])
    square = one["weight_hh"] @ one["weight_hh"].T
    np.testing.assert_allclose(square, np.eye(8), atol=1e-6)


def test_wrong_shapes_are_told_in_one_line():
    rnn, x, h0, _ = case()
    with pytest.raises(InputError, match=r"x has shape \(2, 6, 2\); expected .*input_size=3"):
        rnn.forward(x[:, :, :2])
    with pytest.raises(InputError, match=r"h has shape \(1, 4\); expected \(batch=2, "):
        rnn.forward(x, (h0[:1],))
    with pytest.raises(InputError, match=r"reset has shape \(2, 5\); expected \(batch=2, time=6\)"):
        rnn.forward(x, (h0,), np.zeros((2, 5)))
    with pytest.raises(InputError, match=r"bias has shape \(3,\); expected \(4,\)"):
        BasicRNN.from_parameters({**rnn.parameters, "bias": np.zeros(3)})
