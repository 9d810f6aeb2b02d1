"""Optimizers against small numbers worked by hand and against scalar formulas written again."""

from __future__ import annotations

import io
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstmkit import optimizers
from lstmkit.shapes import InputError

MAKERS = {
    "sgd": lambda: optimizers.sgd(),
    "momentum": lambda: optimizers.sgd(momentum=0.8),
    "nesterov": lambda: optimizers.sgd(momentum=0.8, nesterov=True),
    "rmsprop": lambda: optimizers.rmsprop(decay=0.85, epsilon=1e-3),
    "adagrad": lambda: optimizers.adagrad(epsilon=1e-3),
    "adam": lambda: optimizers.adam(0.7, 0.95, 1e-3),
    "adamw": lambda: optimizers.adamw(0.7, 0.95, 1e-3, weight_decay=0.2),
}


def parameters(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "weight": rng.normal(size=(3, 4)).astype(dtype),
        "bias": rng.normal(size=(5,)).astype(dtype),
        "scale": np.array(0.5, dtype),
    }


def gradients(step, dtype=np.float64):
    scale = 10.0 ** (step % 3 - 1)
    return {k: np.array(g * scale, dtype) for k, g in parameters(dtype, 1000 + step).items()}


def bits(arrays):
    return {k: (a.dtype, a.shape, a.tobytes()) for k, a in arrays.items()}


def run(optimizer, p, state, steps, rate=lambda k: 0.1 / (1 + k), dtype=np.float64):
    for k in steps:
        updates, state = optimizer.update(gradients(k, dtype), state, p, rate(k))
        for name in p:
            p[name] += updates[name]
    return state


# --- numbers worked by hand -----------------------------------------------------------------------


def two_steps(optimizer, start=2.0, gradients=(3.0, -1.0), rate=0.1):
    p = {"w": np.array([start])}
    state, seen = optimizer.init(p), []
    for g in gradients:
        updates, state = optimizer.update({"w": np.array([g])}, state, p, rate)
        p["w"] += updates["w"]
        seen.append(p["w"][0])
    return seen


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        # 2 - 0.1·3;  1.7 + 0.1
        (optimizers.sgd(), (1.7, 1.8)),
        # v = -0.3, then 0.5·(-0.3) + 0.1 = -0.05
        (optimizers.sgd(0.5), (1.7, 1.65)),
        # 0.5·(-0.3) - 0.3 = -0.45, then v = -0.05 and 0.5·(-0.05) + 0.1 = 0.075
        (optimizers.sgd(0.5, nesterov=True), (1.55, 1.625)),
        # s = 0.75·9 = 6.75: 0.3/√6.75;  s = 0.25·6.75 + 0.75·1 = 2.4375: 0.1/√2.4375
        (
            optimizers.rmsprop(0.25, 1e-300),
            (2 - 0.3 / math.sqrt(6.75), 2 - 0.3 / math.sqrt(6.75) + 0.1 / math.sqrt(2.4375)),
        ),
        # s = 9: 0.3/(3 + 1);  s = 10: 0.1/(√10 + 1)
        (optimizers.adagrad(1.0), (1.925, 1.925 + 0.1 / (math.sqrt(10) + 1))),
        # m̂ = 3, ŝ = 9: 0.1·3/(3 + 1);  m = 0.75 - 0.5 → /0.75 = 1/3, s = 0.1875·9 + 0.25 → /0.4375
        (
            optimizers.adam(0.5, 0.75, 1.0),
            (1.925, 1.925 - 0.1 / 3 / (math.sqrt((0.75 * 0.25 * 9 + 0.25) / 0.4375) + 1)),
        ),
        # the same first step, less 0.1·0.5·2
        (
            optimizers.adamw(0.5, 0.75, 1.0, weight_decay=0.5),
            (
                1.825,
                1.825 * 0.95 - 0.1 / 3 / (math.sqrt((0.75 * 0.25 * 9 + 0.25) / 0.4375) + 1),
            ),
        ),
    ],
    ids=list(MAKERS),
)
def test_two_steps_by_hand(optimizer, expected):
    assert two_steps(optimizer) == pytest.approx(expected, rel=1e-14)


# --- the published equations, one number at a time ------------------------------------------------


def sgd_formula(p, grads, rates, momentum=0.0, nesterov=False):
    v = 0.0
    for g, rate in zip(grads, rates, strict=True):
        v = momentum * v - rate * g
        p += momentum * v - rate * g if nesterov else v
        yield p


def rmsprop_formula(p, grads, rates, decay, epsilon):
    mean = 0.0
    for g, rate in zip(grads, rates, strict=True):
        mean = decay * mean + (1 - decay) * g**2
        p -= rate * g / (mean**0.5 + epsilon)
        yield p


def adagrad_formula(p, grads, rates, epsilon):
    for k, rate in enumerate(rates):
        p -= rate * grads[k] / (math.hypot(*grads[: k + 1]) + epsilon)
        yield p


def adam_formula(p, grads, rates, beta1, beta2, epsilon, weight_decay=0.0):
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(grads, rates, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        p = p - rate * m_hat / (math.sqrt(v_hat) + epsilon) - rate * weight_decay * p
        yield p


FORMULAS = {
    "sgd": (sgd_formula, ()),
    "momentum": (sgd_formula, (0.8,)),
    "nesterov": (sgd_formula, (0.8, True)),
    "rmsprop": (rmsprop_formula, (0.85, 1e-3)),
    "adagrad": (adagrad_formula, (1e-3,)),
    "adam": (adam_formula, (0.7, 0.95, 1e-3)),
    "adamw": (adam_formula, (0.7, 0.95, 1e-3, 0.2)),
}
STEPS = 30


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-5)])
@pytest.mark.parametrize("name", MAKERS)
def test_thirty_steps_are_those_of_the_formula(name, dtype, tolerance):
    # float32: thirty steps, each a handful of roundings of 6e-8, some with cancellation
    optimizer, (formula, settings_of) = MAKERS[name](), FORMULAS[name]
    p = parameters(dtype)
    rates = [0.1 * 0.9**k for k in range(STEPS)]
    grads = [gradients(k, dtype) for k in range(STEPS)]
    expected = {}
    for key, start in p.items():
        expected[key] = np.empty((STEPS, *start.shape))
        for place in np.ndindex(start.shape):
            series = [float(g[key][place]) for g in grads]
            path = formula(float(start[place]), series, rates, *settings_of)
            expected[key][(slice(None), *place)] = list(path)
    state = optimizer.init(p)
    for k in range(STEPS):
        updates, state = optimizer.update(grads[k], state, p, rates[k])
        for key in p:
            p[key] += updates[key]
            error = np.linalg.norm(p[key] - expected[key][k])
            assert error <= tolerance * np.linalg.norm(expected[key][k]), (k, key)


def test_nesterov_is_the_look_ahead_of_sutskever():
    # Equations 3 and 4 keep θ and take the gradient at θ + μ v; ours keeps that second point.
    mu, rate, curvature = 0.9, 0.05, np.array([1.0, 7.0])
    theta, v = np.array([2.0, -1.0]), np.zeros(2)
    p = {"w": theta.copy()}
    optimizer = optimizers.sgd(mu, nesterov=True)
    state = optimizer.init(p)
    for _ in range(25):
        v = mu * v - rate * curvature * (theta + mu * v)
        theta = theta + v
        updates, state = optimizer.update({"w": curvature * p["w"]}, state, p, rate)
        p["w"] += updates["w"]
        np.testing.assert_allclose(p["w"], theta + mu * v, rtol=1e-12)
        np.testing.assert_allclose(state["velocity/w"], v, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_adams_first_step_is_the_rate_whatever_the_scale(scale):
    p = {"w": np.zeros(3)}
    g = {"w": np.array([1.0, -2.0, 3.0]) * scale}
    optimizer = optimizers.adam()
    updates, _ = optimizer.update(g, optimizer.init(p), p, 0.01)
    np.testing.assert_allclose(updates["w"], [-0.01, 0.01, -0.01], rtol=2e-5)


@pytest.mark.parametrize("name", MAKERS)
def test_gradients_of_zero_change_nothing(name):
    p = {"w": np.zeros(3, np.float32)}
    optimizer = MAKERS[name]()
    state = optimizer.init(p)
    for _ in range(3):
        updates, state = optimizer.update({"w": np.zeros(3, np.float32)}, state, p, 0.1)
        assert not updates["w"].any()


# --- purity, dtypes, state ------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAKERS)
def test_update_changes_nothing_that_it_is_given(name):
    optimizer, p = MAKERS[name](), parameters()
    state = run(optimizer, p, optimizer.init(p), range(2))
    grads = gradients(2)
    before = bits(p), bits(state), bits(grads)
    for array in [*p.values(), *state.values(), *grads.values()]:
        array.flags.writeable = False
    updates, new_state = optimizer.update(grads, state, p, 0.1)
    assert (bits(p), bits(state), bits(grads)) == before
    given = [*p.values(), *state.values(), *grads.values()]
    fresh = [*updates.values(), *new_state.values()]
    for k, array in enumerate(fresh):
        assert not any(np.shares_memory(array, other) for other in [*given, *fresh[:k]])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("gradient_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rate", [0.1, np.float64(0.1), np.float32(0.1), 1])
def test_float32_stays_float32(name, gradient_dtype, rate):
    optimizer, p = MAKERS[name](), parameters(np.float32)
    state = optimizer.init(p)
    for k in range(3):
        updates, state = optimizer.update(gradients(k, gradient_dtype), state, p, rate)
        arrays = {**updates, **{k: a for k, a in state.items() if k != "step"}}
        assert {a.dtype for a in arrays.values()} == {np.dtype(np.float32)}
        assert all(type(a) is np.ndarray for a in [*updates.values(), *state.values()])
        assert {k: a.shape for k, a in updates.items()} == {k: a.shape for k, a in p.items()}


@pytest.mark.parametrize("name", MAKERS)
def test_a_state_written_and_read_goes_on_with_equal_bits(name):
    optimizer = MAKERS[name]()
    whole = parameters(np.float32)
    last = run(optimizer, whole, optimizer.init(whole), range(20), dtype=np.float32)

    half = parameters(np.float32)
    state = run(optimizer, half, optimizer.init(half), range(9), dtype=np.float32)
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    with np.load(file) as stored:
        state = {key: stored[key] for key in reversed(stored.files)}
    state = run(MAKERS[name](), half, state, range(9, 20), dtype=np.float32)
    assert bits(half) == bits(whole)
    assert bits(state) == bits(last)
    assert int(state["step"]) == 20


@pytest.mark.parametrize("name", MAKERS)
def test_any_memory_layout_gives_the_same(name):
    optimizer = MAKERS[name]()
    plain = {"w": np.arange(12.0).reshape(3, 4)}
    other = {"w": np.asfortranarray(plain["w"])}
    g = np.random.default_rng(0).normal(size=(4, 3)).T
    states = [optimizer.init(plain), optimizer.init(other)]
    for _ in range(3):
        for k, p in enumerate((plain, other)):
            updates, states[k] = optimizer.update({"w": g}, states[k], p, 0.1)
            p["w"] += updates["w"]
    np.testing.assert_array_equal(plain["w"], other["w"])


# --- clipping -------------------------------------------------------------------------------------

arrays = st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=4).map(
    lambda values: np.array(values, np.float32)
)


@settings(max_examples=50, deadline=None)
@given(a=arrays, b=arrays, limit=st.floats(1e-3, 1e3))
def test_clipping_by_norm_scales_all_by_one_factor(a, b, limit):
    grads = {"a": a, "b": b, "c": np.array(1.0, np.float32)}
    before = bits(grads)
    clipped, norm = optimizers.clip_by_global_norm(grads, limit)
    assert norm == pytest.approx(
        math.sqrt(sum(float(x) ** 2 for g in grads.values() for x in g.flat)), rel=1e-12
    )
    assert bits(grads) == before
    assert {k: (g.dtype, g.shape) for k, g in clipped.items()} == {
        k: (g.dtype, g.shape) for k, g in grads.items()
    }
    assert all(type(g) is np.ndarray for g in clipped.values())
    if norm <= limit:
        assert bits(clipped) == before
    else:  # float32 rounds each element
        assert optimizers.global_norm(clipped) == pytest.approx(limit, rel=1e-6)
        for k, g in grads.items():
            np.testing.assert_allclose(clipped[k], g * (limit / norm), rtol=1e-6, atol=1e-37)


def test_the_norm_of_large_and_small_float32_numbers():
    # their squares are inf and 0 in float32
    assert optimizers.global_norm({"w": np.full(4, 1e30, np.float32)}) == pytest.approx(2e30)
    assert optimizers.global_norm({"w": np.full(4, 1e-30, np.float32)}) == pytest.approx(2e-30)
    assert optimizers.global_norm({}) == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_gradient_is_shown_and_not_hidden(bad):
    grads = {"a": np.array([1.0, bad]), "b": np.array([5.0])}
    clipped, norm = optimizers.clip_by_global_norm(grads, 1.0)
    assert not math.isfinite(norm)
    assert bits(clipped) == bits(grads)
    assert np.isnan(optimizers.clip_by_value({"a": np.array([np.nan])}, 1.0)["a"][0])


@settings(max_examples=30, deadline=None)
@given(a=arrays, limit=st.floats(1e-3, 1e3))
def test_clipping_by_value_bounds_each_element(a, limit):
    before = a.copy()
    clipped = optimizers.clip_by_value({"a": a, "c": np.array(-9e9, np.float32)}, limit)
    assert clipped["a"].dtype == clipped["c"].dtype == np.float32
    expected = [min(max(float(x), -limit), limit) for x in before]
    np.testing.assert_allclose(clipped["a"], expected, rtol=1e-7)
    assert clipped["c"] == np.float32(-limit)
    assert type(clipped["c"]) is np.ndarray
    np.testing.assert_array_equal(a, before)


# --- schedules ------------------------------------------------------------------------------------


def test_constant_and_step_decay():
    assert [optimizers.constant(0.3)(k) for k in (0, 1.5, 1e9)] == [0.3] * 3
    schedule = optimizers.step_decay(0.8, every=2.5, factor=0.5)
    assert [schedule(k) for k in (0, 2.4, 2.5, 5, 7.6)] == [0.8, 0.8, 0.4, 0.2, 0.1]


def test_cosine_at_its_corners():
    # halfway down: the mean; a third down: cos 60° = 1/2, so three quarters are left
    schedule = optimizers.cosine(2.0, total=130, warmup=10, floor=1.0)
    assert [schedule(k) for k in (0, 1, 5, 10, 50, 70, 130, 131, 1e9)] == pytest.approx(
        [0, 0.2, 1.0, 2.0, 1.75, 1.5, 1.0, 1.0, 1.0], rel=1e-14
    )
    assert optimizers.cosine(2.0, total=10)(0) == 2.0


@settings(max_examples=40, deadline=None)
@given(
    rate=st.floats(1e-6, 10),
    total=st.floats(1, 1e6),
    share=st.floats(0, 0.9),
    low=st.floats(0, 1),
)
def test_cosine_rises_then_falls_without_a_jump(rate, total, share, low):
    schedule = optimizers.cosine(rate, total, share * total, low * rate)
    up = [schedule(share * total * k / 20) for k in range(21)]
    down = [schedule(total * (share + (1 - share) * k / 20)) for k in range(21)]
    assert up == sorted(up)
    assert all(b <= a * (1 + 1e-12) for a, b in pairwise(down))
    assert up[-1] == pytest.approx(rate, rel=1e-6)
    assert down[0] == pytest.approx(rate, rel=1e-6)
    assert down[-1] == pytest.approx(low * rate, rel=1e-6, abs=1e-12 * rate)
    assert all(type(value) is float for value in up + down)


def scales(pair, metrics):
    state, seen = pair.init(), []
    for metric in metrics:
        state = pair.update(state, metric)
        seen.append(float(state["scale"]))
    return seen


def test_plateau_waits_for_patience_then_starts_to_count_again():
    pair = optimizers.plateau(factor=0.5, patience=2, threshold=0.0)
    #         gain  1    2    1    gain  1    2     1     2
    metrics = [1.0, 1.0, 2.0, 1.5, 0.5, 0.5, 0.6, 0.5, 0.9]
    assert scales(pair, metrics) == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125]


def test_plateau_threshold_nan_and_lowest():
    pair = optimizers.plateau(factor=0.5, patience=1, threshold=0.1, lowest=0.3)
    # 0.95 gains too little on 1; 0.85 enough; nan is no gain; the scale stops at 0.3
    assert scales(pair, [1.0, 0.95, 0.85, math.nan, 0.9]) == [1, 0.5, 0.5, 0.3, 0.3]
    assert scales(pair, [math.nan, -5.0, -6.0]) == [0.5, 0.5, 0.5]


def test_plateau_is_pure_and_its_state_is_arrays():
    pair = optimizers.plateau(patience=1)
    state = pair.update(pair.init(), 1.0)
    before = bits(state)
    again = pair.update(state, 2.0)
    assert bits(state) == before
    assert {k: (a.dtype.name, a.shape) for k, a in again.items()} == {
        "scale": ("float64", ()),
        "best": ("float64", ()),
        "waited": ("int64", ()),
    }
    assert bits(pair.update(state, 2.0)) == bits(again)


# --- errors ---------------------------------------------------------------------------------------

P = {"w": np.zeros(2), "b": np.zeros(3)}
G = {"w": np.ones(2), "b": np.ones(3)}
ADAM = optimizers.adam()
S = ADAM.init(P)

ERRORS = {
    "adam: parameters is empty; expected at least one array": lambda: ADAM.init({}),
    "sgd: parameters['w'] is of int64; expected an array of floats": (
        lambda: optimizers.sgd().init({"w": np.zeros(2, np.int64)})
    ),
    "sgd: parameters['w'] is of list; expected an array of floats": (
        lambda: optimizers.sgd().init({"w": [1.0]})
    ),
    "adam: grads has no 'b'; expected one gradient for each parameter, no other": (
        lambda: ADAM.update({"w": G["w"]}, S, P, 0.1)
    ),
    "adam: grads has 'c'; expected one gradient for each parameter, no other": (
        lambda: ADAM.update({**G, "c": G["w"]}, S, P, 0.1)
    ),
    "adam: state has no 'step'; expected the state of adam for these parameters": (
        lambda: ADAM.update(G, {k: a for k, a in S.items() if k != "step"}, P, 0.1)
    ),
    "rmsprop: state has 'mean/w'; expected the state of rmsprop for these parameters": (
        lambda: optimizers.rmsprop().update(G, S, P, 0.1)
    ),
    "adam: grads['w'] has shape (3,); expected (2,)": (
        lambda: ADAM.update({**G, "w": G["b"]}, S, P, 0.1)
    ),
    "adam: state mean['b'] has shape (); expected (3,)": (
        lambda: ADAM.update(G, {**S, "mean/b": np.zeros(())}, P, 0.1)
    ),
    "adam: learning_rate is -0.1; expected at least 0": lambda: ADAM.update(G, S, P, -0.1),
    "adam: learning_rate is nan; expected at least 0": lambda: ADAM.update(G, S, P, math.nan),
    "sgd: momentum is 1; expected at least 0 and below 1": lambda: optimizers.sgd(1),
    "sgd: nesterov is True with momentum 0; expected a momentum above 0": (
        lambda: optimizers.sgd(nesterov=True)
    ),
    "rmsprop: decay is 1.0; expected at least 0 and below 1": lambda: optimizers.rmsprop(1.0),
    "rmsprop: epsilon is 0; expected above 0": lambda: optimizers.rmsprop(epsilon=0),
    "adagrad: epsilon is -1; expected above 0": lambda: optimizers.adagrad(-1),
    "adam: beta2 is 1; expected at least 0 and below 1": lambda: optimizers.adam(beta2=1),
    "adamw: beta1 is -0.1; expected at least 0 and below 1": lambda: optimizers.adamw(-0.1),
    "adamw: weight_decay is -1; expected at least 0": lambda: optimizers.adamw(weight_decay=-1),
    "clip_by_global_norm: limit is 0; expected above 0": (
        lambda: optimizers.clip_by_global_norm(G, 0)
    ),
    "clip_by_value: limit is nan; expected above 0": lambda: optimizers.clip_by_value(G, math.nan),
    "constant: rate is -1; expected at least 0": lambda: optimizers.constant(-1),
    "step_decay: every is 0; expected above 0": lambda: optimizers.step_decay(1, 0, 0.5),
    "step_decay: factor is 2; expected above 0 and at most 1": (
        lambda: optimizers.step_decay(1, 1, 2)
    ),
    "cosine: warmup is 10; expected at least 0 and below 10": (
        lambda: optimizers.cosine(1, 10, warmup=10)
    ),
    "cosine: floor is 2; expected at least 0 and at most 1": (
        lambda: optimizers.cosine(1, 10, floor=2)
    ),
    "plateau: factor is 1; expected above 0 and below 1": lambda: optimizers.plateau(1),
    "plateau: patience is 0; expected at least 1": lambda: optimizers.plateau(patience=0),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(message):
    with pytest.raises(InputError) as caught:
        ERRORS[message]()
    assert str(caught.value) == message
