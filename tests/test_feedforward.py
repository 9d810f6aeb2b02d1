"""Embedding, Linear, Dropout: values and gradients."""

import numpy as np
import pytest

from lstmkit import Dropout, Embedding, Linear
from lstmkit.layers.feedforward import linear
from lstmkit.shapes import InputError

STEP = 1e-30


def test_linear_gradients_by_complex_step():
    rng = np.random.default_rng(0)
    layer = Linear(4, 3, dtype="float64", seed=1)
    layer.parameters["bias"] += rng.standard_normal(3)
    x, weight_y = rng.standard_normal((2, 5, 4)), rng.standard_normal((2, 5, 3))
    y, tape = layer.forward(x)
    expected = np.einsum("oi,nti->nto", layer.parameters["weight"], x) + layer.parameters["bias"]
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    dx, grads = layer.backward(tape, weight_y)
    values = {"x": x, **layer.parameters}
    for name, gradient in {"x": dx, **grads}.items():
        found = np.empty_like(gradient)
        for k in np.ndindex(gradient.shape):
            bent = {key: array.astype(complex) for key, array in values.items()}
            bent[name][k] += STEP * 1j
            found[k] = (linear(bent, bent.pop("x")) * weight_y).sum().imag / STEP
        assert np.linalg.norm(found - gradient) <= 1e-12 * np.linalg.norm(gradient), name


def test_linear_without_a_bias():
    layer = Linear(4, 3, bias=False, seed=1)
    assert list(layer.parameters) == ["weight"]
    y, tape = layer.forward(np.ones((2, 4)))
    assert y.dtype == np.float32
    assert list(layer.backward(tape, y)[1]) == ["weight"]


def test_embedding_gradient_is_the_sum_over_places():
    layer = Embedding(6, 3, dtype="float64", seed=0)
    tokens = np.array([[1, 4, 1], [1, 0, 4]])
    y, tape = layer.forward(tokens)
    np.testing.assert_array_equal(y, layer.parameters["weight"][tokens])
    dy = np.random.default_rng(1).standard_normal(y.shape)
    expected = np.zeros((6, 3))
    for n in range(2):
        for t in range(3):
            expected[tokens[n, t]] += dy[n, t]
    np.testing.assert_allclose(layer.backward(tape, dy)["weight"], expected, rtol=1e-12)
    y, tape = layer.forward(np.zeros((2, 0), int))
    assert not layer.backward(tape, y)["weight"].any()


def test_dropout():
    layer = Dropout(0.25)
    x = np.ones((200, 50), np.float32)
    y, tape = layer.forward(x, np.random.default_rng(0))
    assert set(np.unique(y)) == {0, np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.02
    np.testing.assert_array_equal(layer.backward(tape, x), y)
    y, tape = layer.forward(x)
    np.testing.assert_array_equal(layer.backward(tape, y), x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Embedding(6, 3)([1, 6]), "embedding: indices[1] is 6; expected 0 to 5"),
        (lambda: Embedding(6, 3)([0.5]), "embedding: indices has dtype float64; expected integers"),
        (lambda: Embedding(0, 3), "embedding: num_embeddings is 0; expected at least 1"),
        (
            lambda: Linear(4, 3)(np.ones((2, 5))),
            "linear: x has shape (2, 5); expected (2, input_size=4)",
        ),
        (lambda: Linear(4, 3)(1.0), "linear: x has shape (); expected (…, input_size=4)"),
        (
            lambda: Embedding(6, 4).backward(np.zeros((2, 2), int), np.zeros((2, 8))),
            "embedding.backward: dy has shape (2, 8); expected (2, 2, size=4)",
        ),
        (
            lambda: Linear(3, 4).backward(np.zeros((2, 3)), np.zeros((2, 3))),
            "linear.backward: dy has shape (2, 3); expected (2, output_size=4)",
        ),
        (lambda: Linear(3, 4, seed=-1), "linear: seed is -1; expected at least 0"),
        (lambda: Dropout(1.0), "dropout: rate is 1.0; expected at least 0 and below 1"),
        (
            lambda: Linear(4, 3, dtype="int8"),
            "linear: dtype is 'int8'; expected one of 'float32', 'float64'",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value) == message


def test_empty_batches():
    layer = Linear(3, 4)
    y, tape = layer.forward(np.zeros((0, 5, 3), np.float32))
    assert y.shape == (0, 5, 4)
    dx, grads = layer.backward(tape, y)
    assert dx.shape == (0, 5, 3)
    assert not grads["weight"].any()
    np.testing.assert_array_equal(Dropout(0.5)(tape), tape)
