"""Losses: values and gradients against formulas written a second time, and their edges."""

from __future__ import annotations

import math
import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit import losses
from lstmkit.shapes import InputError

# --- the same losses, one element at a time, on complex numbers ---------------------------------


def cross_entropy_formula(z, targets, ignore=-1, weights=None):
    total, weight = 0, 0
    for place in np.ndindex(targets.shape):
        k = targets[place]
        if k == ignore:
            continue
        w = 1 if weights is None else weights[k]
        partition = sum(np.exp(v - z[place].real.max()) for v in z[place])
        total += w * (np.log(partition) + z[place].real.max() - z[place][k])
        weight += w
    return total / weight


def elementwise(cost):
    def formula(p, y, mask=None):
        counted = np.ones(p.shape, bool) if mask is None else mask
        places = [k for k in np.ndindex(p.shape) if counted[k[: counted.ndim]]]
        return sum(cost(p[k], y[k]) for k in places) / len(places)

    return formula


def magnitude(d):
    return d if d.real >= 0 else -d


def huber_cost(p, y, delta):
    d = magnitude(p - y)
    return d**2 / 2 if d.real <= delta else delta * d - delta**2 / 2


def binary_cost(z, y):
    q = 1 / (1 + np.exp(-z))
    return -y * np.log(q) - (1 - y) * np.log(1 - q)


def pinball_formula(p, y, quantiles, mask=None):
    def cost(k):
        d = y[k[:-1]] - p[k]
        return quantiles[k[-1]] * d if d.real > 0 else (quantiles[k[-1]] - 1) * d

    counted = np.ones(y.shape, bool) if mask is None else mask
    places = [k for k in np.ndindex(p.shape) if counted[k[: counted.ndim]]]
    return sum(cost(k) for k in places) / len(places)


rng = np.random.default_rng(20240229)
SHAPE = (3, 4, 5)
Z = rng.normal(size=SHAPE) * 2
Y = rng.normal(size=SHAPE)
YES = rng.random(SHAPE)
LABELS = rng.integers(0, 5, SHAPE[:2])
SOME = np.where(rng.random(SHAPE[:2]) < 0.4, -1, LABELS)
WEIGHTS = np.array([0.5, 2.0, 0.0, 1.0, 3.0])
STEPS = rng.random(SHAPE[:2]) < 0.6
ELEMENTS = rng.random(SHAPE) < 0.6
Q = (0.1, 0.25, 0.5, 0.75, 0.9)

CASES = {
    "cross_entropy": (losses.cross_entropy, cross_entropy_formula, LABELS, {}),
    "cross_entropy ignore": (losses.cross_entropy, cross_entropy_formula, SOME, {}),
    "cross_entropy ignore 2": (losses.cross_entropy, cross_entropy_formula, LABELS, {"ignore": 2}),
    "cross_entropy weights": (
        losses.cross_entropy,
        cross_entropy_formula,
        LABELS,
        {"weights": WEIGHTS},
    ),
    "cross_entropy both": (losses.cross_entropy, cross_entropy_formula, SOME, {"weights": WEIGHTS}),
    "squared": (losses.mean_squared_error, elementwise(lambda p, y: (p - y) ** 2), Y, {}),
    "absolute": (losses.mean_absolute_error, elementwise(lambda p, y: magnitude(p - y)), Y, {}),
    "huber": (losses.huber, elementwise(partial(huber_cost, delta=1.0)), Y, {}),
    "pinball": (
        partial(losses.pinball, quantiles=Q),
        partial(pinball_formula, quantiles=Q),
        Y[..., 0],
        {},
    ),
    "binary": (losses.binary_cross_entropy, elementwise(binary_cost), YES, {}),
}
for name in ("squared", "absolute", "huber", "pinball", "binary"):
    CASES[f"{name} mask of steps"] = (*CASES[name][:3], {"mask": STEPS})
    if name != "pinball":
        CASES[f"{name} mask of elements"] = (*CASES[name][:3], {"mask": ELEMENTS})
small = (losses.huber, elementwise(partial(huber_cost, delta=0.3)), Y, {})
CASES["huber 0.3"] = (partial(small[0], delta=0.3), *small[1:])


@pytest.mark.parametrize("case", CASES)
def test_value_and_gradient_are_those_of_the_formula(case):
    loss, formula, target, options = CASES[case]
    value, gradient = loss(Z, target, **options)
    assert value == pytest.approx(formula(Z + 0j, target, **options).real, rel=1e-13, abs=0)
    expected = np.zeros(SHAPE)
    for place in np.ndindex(SHAPE):
        z = Z.astype(complex)
        z[place] += 1e-30j
        expected[place] = formula(z, target, **options).imag / 1e-30
    assert np.linalg.norm(gradient - expected) <= 1e-9 * np.linalg.norm(expected)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_shape_and_purity(case, dtype):
    loss, _, target, options = CASES[case]
    z = Z.astype(dtype)
    before = z.tobytes(), target.tobytes()
    value, gradient = loss(z, target, **options)
    assert type(value) is float
    assert type(gradient) is np.ndarray
    assert (gradient.dtype, gradient.shape) == (dtype, SHAPE)
    assert (z.tobytes(), target.tobytes()) == before
    # float32: a few roundings of 6e-8 each
    exact, gradient64 = loss(Z, target, **options)
    assert value == pytest.approx(exact, rel=1e-6)
    np.testing.assert_allclose(gradient, gradient64, rtol=0, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_any_memory_layout_gives_the_same(case):
    loss, _, target, options = CASES[case]
    value, gradient = loss(Z, target, **options)
    time_major = np.ascontiguousarray(Z.transpose(1, 0, 2)).transpose(1, 0, 2)
    again, other = loss(time_major, target, **options)
    assert again == pytest.approx(value, rel=1e-14)
    np.testing.assert_array_equal(other, gradient)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_number_or_one_row_alone(case, dtype):
    loss, _, target, options = CASES[case]
    rows = "cross" in case or "pinball" in case
    place = (0, 0) if rows else (0, 0, 0)
    options = {k: v for k, v in options.items() if k != "mask"} | (
        {"ignore": 99} if "cross" in case else {}
    )
    target = np.maximum(target, 0) if "cross" in case else target
    value, gradient = loss(Z[place].astype(dtype), target[place], **options)
    more, expected = loss(Z[place][None].astype(dtype), target[place][None], **options)
    assert value == pytest.approx(more, rel=1e-6)
    assert type(gradient) is np.ndarray
    assert (gradient.dtype, gradient.shape) == (dtype, SHAPE[2:] if rows else ())
    np.testing.assert_allclose(gradient, expected[0], rtol=1e-6)


# --- large, empty, broken ----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_of_huge_logits(dtype):
    z = np.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [-1e4, -1e4, -1e4]], dtype)
    value, gradient = losses.cross_entropy(z, [1, 0, 2])
    assert value == pytest.approx((20000 + 0 + math.log(3)) / 3, rel=1e-7)
    expected = np.array([[1, -1, 0], [0, 0, 0], [1 / 3, 1 / 3, -2 / 3]]) / 3
    np.testing.assert_allclose(gradient, expected, rtol=1e-6)


def test_a_class_ruled_out_by_minus_infinity():
    value, gradient = losses.cross_entropy(np.array([[0.0, -np.inf, 0.0]]), [0])
    assert value == pytest.approx(math.log(2), rel=1e-15)
    np.testing.assert_allclose(gradient, [[-0.5, 0, 0.5]], rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_of_huge_logits(dtype):
    z = np.array([1e4, 1e4, -1e4, -1e4, 0], dtype)
    value, gradient = losses.binary_cross_entropy(z, [1, 0, 1, 0, 0.5])
    assert value == pytest.approx((20000 + math.log(2)) / 5, rel=1e-7)
    np.testing.assert_allclose(gradient, np.array([0, 1, -1, 0, 0]) / 5, rtol=1e-7)
    # far from 0 the gradient keeps its digits: σ(-40) = e⁻⁴⁰ to 17 digits
    _, tail = losses.binary_cross_entropy(np.array([-40.0]), [0])
    assert tail[0] == pytest.approx(math.exp(-40), rel=1e-14)


@pytest.mark.parametrize("case", CASES)
def test_where_nothing_counts_value_and_gradient_are_zero(case):
    loss, _, target, options = CASES[case]
    if "cross" in case:
        target, options = np.full(target.shape, -1), options | {"ignore": -1}
    else:
        options = {"mask": np.zeros(SHAPE[:2], bool)}
    value, gradient = loss(Z, target, **options)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros(SHAPE))


def test_a_class_of_weight_zero_has_no_influence():
    value, gradient = losses.cross_entropy(Z, LABELS, weights=WEIGHTS)
    z = Z.copy()
    z[LABELS == 2] = np.nan
    again, other = losses.cross_entropy(z, LABELS, weights=WEIGHTS)
    assert (LABELS == 2).any()
    assert again == value
    np.testing.assert_array_equal(other, gradient)


def test_only_the_ratios_of_the_weights_matter():
    value, gradient = losses.cross_entropy(Z, LABELS, weights=WEIGHTS)
    again, other = losses.cross_entropy(Z, LABELS, weights=WEIGHTS * 1e-3)
    assert again == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(other, gradient, rtol=1e-13, atol=1e-17)
    # PyTorch's convention: with equal weights it is the mean over the rows
    assert losses.cross_entropy(Z, LABELS, weights=np.full(5, 7.0))[0] == pytest.approx(
        losses.cross_entropy(Z, LABELS)[0], rel=1e-14
    )


def test_weights_that_are_all_zero_count_nothing():
    value, gradient = losses.cross_entropy(Z, LABELS, weights=np.zeros(5))
    assert value == 0.0
    assert not gradient.any()


@pytest.mark.parametrize("case", CASES)
def test_no_elements_at_all(case):
    loss, _, target, options = CASES[case]
    options = {k: v for k, v in options.items() if k != "mask"}
    value, gradient = loss(np.zeros((0, 4, 5)), target[:0], **options)
    assert (value, gradient.shape) == (0.0, (0, 4, 5))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", [c for c in CASES if "mask" in c or "ignore" in c])
def test_what_does_not_count_has_no_influence(case, bad):
    loss, _, target, options = CASES[case]
    counted = options.get("mask", target != options.get("ignore", -1))
    z = Z.copy()
    z[~counted] = bad
    if target.dtype.kind == "f":
        target = target.copy()
        target[~counted] = bad
    value, gradient = loss(z, target, **options)
    expected, clean = loss(Z, CASES[case][2], **options)
    assert value == expected
    np.testing.assert_array_equal(gradient, clean)
    assert not gradient[~counted].any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("case", [c for c in CASES if "pinball" not in c])
def test_a_broken_prediction_shows_in_the_value_without_a_warning(case, bad):
    loss, _, target, options = CASES[case]
    z = np.full(SHAPE, bad)
    value, _ = loss(z, target, **options)
    assert not math.isfinite(value)


def test_kinks_take_the_subgradient_zero():
    p = np.array([1.0, 1.0])
    np.testing.assert_array_equal(losses.mean_absolute_error(p, p)[1], [0, 0])
    np.testing.assert_array_equal(losses.pinball(p[None], [1.0], quantiles=[0.2, 0.9])[1], [[0, 0]])
    # Huber has no kink: from both sides the slope at |d| = delta is delta
    _, slope = losses.huber(np.array([0.5, 0.5 + 1e-9, -0.5, -0.5 - 1e-9]), np.zeros(4), delta=0.5)
    np.testing.assert_allclose(slope * 4, [0.5, 0.5, -0.5, -0.5], rtol=1e-12)


def test_the_median_is_half_the_absolute_error():
    value, gradient = losses.pinball(Z[..., None], Z * 0, quantiles=[0.5])
    absolute, slope = losses.mean_absolute_error(Z, Z * 0)
    assert value == pytest.approx(absolute / 2, rel=1e-14)
    np.testing.assert_allclose(gradient[..., 0], slope / 2, rtol=1e-14)


# --- properties and cost -------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 6),
    classes=st.integers(1, 7),
    shift=st.floats(-1e3, 1e3),
    seed=st.integers(0, 1000),
)
def test_cross_entropy_ignores_a_shift_and_its_gradient_sums_to_zero(rows, classes, shift, seed):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(rows, classes)) * 5
    k = rng.integers(0, classes, rows)
    value, gradient = losses.cross_entropy(z, k)
    shifted, _ = losses.cross_entropy(z + shift, k)
    assert shifted == pytest.approx(value, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(gradient.sum(axis=-1), 0, atol=1e-14)
    assert (gradient[np.arange(rows), k] <= 0).all()
    assert value >= 0


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_a_padded_batch_is_the_weighted_mean_of_its_sequences(lengths, seed):
    rng = np.random.default_rng(seed)
    p, y = rng.normal(size=(2, len(lengths), 5, 2))
    mask = np.arange(5) < np.array(lengths)[:, None]
    value, gradient = losses.mean_squared_error(p, y, mask=mask)
    alone = [losses.mean_squared_error(p[k, :n], y[k, :n]) for k, n in enumerate(lengths)]
    total = max(sum(lengths), 1)
    expected = sum(n * v for n, (v, _) in zip(lengths, alone, strict=True)) / total
    assert value == pytest.approx(expected, rel=1e-12)
    for k, n in enumerate(lengths):
        np.testing.assert_allclose(gradient[k, :n], alone[k][1] * n / total, rtol=1e-12)


@pytest.mark.parametrize("time_major", [False, True])
def test_cross_entropy_needs_no_more_memory_than_its_gradient(time_major):
    z = np.zeros((40, 50, 200), np.float32)
    if time_major:
        z = z.transpose(1, 0, 2)
    k = np.zeros(z.shape[:2], np.int64)
    losses.cross_entropy(z, k)
    tracemalloc.start()
    losses.cross_entropy(z, k)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.15 * z.nbytes


# --- errors --------------------------------------------------------------------------------------

ONE = np.zeros((2, 3))
ERRORS = {
    "cross_entropy: targets has shape (3,); expected (2,)": lambda: losses.cross_entropy(
        ONE, [0, 1, 2]
    ),
    "cross_entropy: targets has dtype float64; expected integers": lambda: losses.cross_entropy(
        ONE, [0.0, 1.0]
    ),
    "cross_entropy: targets[1] is 3; expected 0 to 2": lambda: losses.cross_entropy(ONE, [-1, 3]),
    "cross_entropy: targets[0] is -2; expected 0 to 2": lambda: losses.cross_entropy(ONE, [-2, 0]),
    "cross_entropy: logits has shape (2, 0); expected (..., classes), at least one class": (
        lambda: losses.cross_entropy(np.zeros((2, 0)), [0, 0])
    ),
    "cross_entropy: logits has shape (); expected (..., classes), at least one class": (
        lambda: losses.cross_entropy(np.zeros(()), 0)
    ),
    "cross_entropy: logits has dtype complex128; expected real numbers (2, 3)": (
        lambda: losses.cross_entropy(ONE + 0j, [0, 0])
    ),
    "cross_entropy: weights has shape (2,); expected (classes=3,)": (
        lambda: losses.cross_entropy(ONE, [0, 1], weights=[1, 2])
    ),
    "cross_entropy: weights[1] is -1.0; expected at least 0, finite": (
        lambda: losses.cross_entropy(ONE, [0, 1], weights=[1, -1, 2])
    ),
    "mean_squared_error: target has shape (2, 1); expected (2, 3)": (
        lambda: losses.mean_squared_error(ONE, np.zeros((2, 1)))
    ),
    "mean_absolute_error: mask has shape (3,); expected (2,)": (
        lambda: losses.mean_absolute_error(ONE, ONE, mask=np.ones(3, bool))
    ),
    "mean_absolute_error: mask has dtype int64; expected booleans": (
        lambda: losses.mean_absolute_error(ONE, ONE, mask=np.ones(2, np.int64))
    ),
    "huber: delta is 0; expected above 0": lambda: losses.huber(ONE, ONE, delta=0),
    "pinball: quantiles is 1; expected above 0 and below 1": (
        lambda: losses.pinball(ONE, [0, 0], quantiles=[0.1, 0.5, 1])
    ),
    "pinball: prediction has shape (2, 3); expected (..., quantiles=2), at least one": (
        lambda: losses.pinball(ONE, [0, 0], quantiles=[0.1, 0.5])
    ),
    "pinball: target has shape (2, 3); expected (2,)": (
        lambda: losses.pinball(ONE, ONE, quantiles=[0.1, 0.5, 0.9])
    ),
    "pinball: mask has shape (2, 3); expected at most that of the target (2,)": (
        lambda: losses.pinball(ONE, [0, 0], quantiles=[0.1, 0.5, 0.9], mask=ONE > 0)
    ),
    "binary_cross_entropy: targets[1, 2] is 1.5; expected 0 to 1": (
        lambda: losses.binary_cross_entropy(ONE, [[0, 0, 1], [1, 1, 1.5]])
    ),
    "binary_cross_entropy: targets is -1.0; expected 0 to 1": (
        lambda: losses.binary_cross_entropy(np.zeros(()), -1)
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(InputError) as caught:
        ERRORS[message]()
    assert str(caught.value) == message
