"""SequenceClassifier and SequenceRegressor, and what the three estimators have in common."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest

import lstmkit as lk
from lstmkit import losses, store
from lstmkit.layers import LSTM, Linear
from lstmkit.shapes import InputError
from lstmkit.tasks import targets
from lstmkit.tasks.network import Network, infer

rng = np.random.default_rng(0)
X3 = rng.normal(size=(48, 6, 2))
SIGNS = np.where(X3[:, -1, 0] > 0, "up", "down")
SUMS = X3[:, :, 0].sum(axis=1)
RAGGED = [x[: 2 + k % 5] for k, x in enumerate(X3)]
ENDS = np.array(["up" if x[-1, 0] > 0 else "down" for x in RAGGED])
QUICK = {"hidden_size": 6, "epochs": 3, "batch_size": 16, "random_state": 0}
CLASSES = np.arange(48) % 3


def exact(found, wanted):
    """Equal bits with the native engine; with NumPy's library products of other shapes round."""
    if lk.backend() == "numpy" and np.asarray(found).dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, wanted)


def classifier(**options):
    return lk.SequenceClassifier(**QUICK | options)


def regressor(**options):
    return lk.SequenceRegressor(**QUICK | options)


# ------------------------------------------------------- the gradient, by complex step in float64

LENGTHS = np.array([4, 1, 3])


def by_hand(network, parameters, inputs, lengths):
    """Predictions by the equations alone, one sequence and one step after the other."""
    p, H = parameters, network.lstm.hidden_size

    def sigmoid(z):
        return 1 / (1 + np.exp(-z))

    def read(x, suffix):
        h, c, found = np.zeros(H, complex), np.zeros(H, complex), []
        for x_t in x:
            z = p[f"lstm.weight_ih_l0{suffix}"] @ x_t + p[f"lstm.weight_hh_l0{suffix}"] @ h
            i, f, g, o = np.split(z + p[f"lstm.bias_l0{suffix}"], 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
            found.append(h)
        return np.array(found)

    answers = []
    for x, length in zip(inputs, lengths, strict=True):
        x = x[:length].astype(complex)
        sides = [read(x, "")]
        if network.lstm.bidirectional:
            sides.append(read(x[::-1], "_reverse")[::-1])
        steps = np.concatenate(sides, axis=1)
        if network.pooling == "last":
            pooled = np.concatenate([side[end] for side, end in zip(sides, (-1, 0), strict=False)])
        elif network.pooling == "mean":
            pooled = steps.sum(axis=0) / length
        elif network.pooling == "max":
            pooled = steps[steps.real.argmax(axis=0), np.arange(steps.shape[1])]
        else:
            pooled = steps
        answers.append(pooled @ p["head.weight"].T + p["head.bias"])
    return answers


def nats(logits, label):
    return np.log(np.exp(logits).sum()) - logits[label]


LOSSES = {
    "classes": (
        losses.cross_entropy,
        np.array([2, 0, 1]),
        lambda found, wanted: sum(nats(z, k) for z, k in zip(found, wanted, strict=True)) / 3,
    ),
    "weighted": (
        lambda z, y: targets.weighted(np.array([0.5, 2.0, 1.0]), z, y),
        np.array([2, 0, 1]),
        lambda found, wanted: (
            sum(
                np.array([0.5, 2.0, 1.0])[k] * nats(z, k)
                for z, k in zip(found, wanted, strict=True)
            )
            / 3
        ),
    ),
    "values": (
        losses.mean_squared_error,
        np.array([[0.5, -1.0, 2.0], [0.0, 1.0, -0.5], [1.5, 0.25, 1.0]]),
        lambda found, wanted: (
            sum(((z - w) ** 2).sum() for z, w in zip(found, wanted, strict=True)) / 9
        ),
    ),
}
STEPS = int(LENGTHS.sum())
STEP_TAGS = np.where(np.arange(4) < LENGTHS[:, None], (np.arange(12).reshape(3, 4) * 7) % 3, -1)
STEP_VALUES = np.random.default_rng(8).normal(size=(3, 4, 3))
STEP_BITS = (STEP_VALUES > 0).astype(float)
STEP_MASK = np.arange(4) < LENGTHS[:, None]


def each_step(one):
    """Sum over the steps that are there, of sequences' (T_k, K) predictions."""

    def total(found, wanted):
        parts = [
            one(z, w)
            for steps, row in zip(found, wanted, strict=True)
            for z, w in zip(steps, row, strict=False)
        ]
        assert len(parts) == STEPS
        return sum(parts) / STEPS

    return total


STEP_LOSSES = {
    "label": (losses.cross_entropy, STEP_TAGS, each_step(nats)),
    "weighted label": (
        lambda z, y: targets.weighted(np.array([0.5, 2.0, 1.0]), z, y),
        STEP_TAGS,
        each_step(lambda z, k: np.array([0.5, 2.0, 1.0])[k] * nats(z, k)),
    ),
    "value": (
        lambda z, y: losses.mean_squared_error(z, y, mask=STEP_MASK),
        STEP_VALUES,
        each_step(lambda z, w: ((z - w) ** 2).sum() / 3),
    ),
    "labels": (
        lambda z, y: losses.binary_cross_entropy(z, y, mask=STEP_MASK),
        STEP_BITS,
        each_step(lambda z, w: (np.log(1 + np.exp(z)) - z * w).sum() / 3),
    ),
}


@pytest.mark.parametrize(
    ("pooling", "loss", "bidirectional"),
    [(p, loss, False) for p in ("last", "mean", "max") for loss in LOSSES]
    + [(None, loss, False) for loss in STEP_LOSSES]
    + [(p, "classes", True) for p in ("last", "mean", "max")]
    + [(None, "label", True)],
)
def test_every_gradient_by_complex_step(pooling, loss, bidirectional):
    draw = np.random.default_rng(3)
    lstm = LSTM(2, 2, bidirectional=bidirectional, dtype="float64", seed=draw)
    network = Network(lstm, Linear(lstm.output_size, 3, dtype="float64", seed=draw), pooling, 0.0)
    inputs = draw.normal(size=(3, 4, 2))  # what stands past an end is there to be ignored
    function, wanted, exactly = (STEP_LOSSES if pooling is None else LOSSES)[loss]
    found, _, tape = network.forward(inputs, lengths=LENGTHS)
    value, gradient = function(found, wanted)
    grads = network.backward(tape, gradient)
    assert set(grads) == set(network.parameters)
    own = by_hand(network, network.parameters, inputs, LENGTHS)
    assert abs(exactly(own, wanted).real - value) < 1e-12
    for name, array in network.parameters.items():
        exact = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            moved = {n: a.astype(complex) for n, a in network.parameters.items()}
            moved[name][index] += 1e-30j
            exact[index] = exactly(by_hand(network, moved, inputs, LENGTHS), wanted).imag / 1e-30
        error = np.linalg.norm(grads[name] - exact) / np.linalg.norm(exact)
        assert error <= 1e-9, name


@pytest.mark.parametrize("pooling", ["last", "mean", "max", None])
def test_dropout_stands_before_the_head(pooling):
    network = Network(LSTM(2, 8, seed=0), Linear(8, 1, seed=0), pooling, 0.5)
    x = rng.normal(size=(3, 4, 2)).astype(np.float32)
    dry, _, _ = network.forward(x)
    np.testing.assert_array_equal(dry, network(x)[0])
    wet, _, tape = network.forward(x, rng=np.random.default_rng(0))
    assert (wet != dry).any()
    mask = tape[4]
    assert set(np.unique(mask)) == {0, 2}
    assert mask.shape == ((3, 8) if pooling else (3, 4, 8))


@pytest.mark.parametrize("pooling", ["last", "mean", "max", None])
def test_inference_in_parts_is_that_of_each_alone(pooling, monkeypatch):
    monkeypatch.setattr("lstmkit.tasks.network._TOKENS", 12)
    network = Network(LSTM(2, 5, seed=0), Linear(5, 2, seed=0), pooling, 0.0)
    lengths = rng.integers(1, 9, 17)
    values = rng.normal(size=(lengths.sum(), 2)).astype(np.float32)
    found = infer(network, values, lengths, pooling is None)
    parts = np.split(values, np.cumsum(lengths)[:-1])
    alone = [network(part[None])[0][0] for part in parts]
    wanted = np.concatenate(alone) if pooling is None else np.stack(alone)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------- learning


def test_it_learns_the_class_of_ragged_sequences():
    model = classifier(hidden_size=16, epochs=60).fit(RAGGED, ENDS)
    assert model.score(RAGGED, ENDS) > 0.9
    assert list(model.classes_) == ["down", "up"]
    chances = model.predict_proba(RAGGED)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-12)
    np.testing.assert_array_equal(model.classes_[chances.argmax(axis=1)], model.predict(RAGGED))
    exact = -np.log(chances[np.arange(48), (ENDS == "up").astype(int)]).mean()
    assert model.loss(RAGGED, ENDS) == pytest.approx(exact, rel=1e-5)


def test_it_learns_values_one_or_several():
    model = regressor(hidden_size=16, epochs=60, learning_rate=0.02).fit(X3, SUMS)
    assert model.score(X3, SUMS) > 0.9
    assert model.predict(X3).shape == (48,)
    both = np.stack([SUMS, 100 - 3 * SUMS], axis=1)
    model = regressor(hidden_size=16, epochs=60, learning_rate=0.02).fit(X3, both)
    assert model.predict(X3).shape == (48, 2)
    error = np.square(model.predict(X3) - both).sum(0) / np.square(both - both.mean(0)).sum(0)
    assert model.score(X3, both) == pytest.approx(1 - error.mean(), rel=1e-9)
    assert model.score(X3, both) > 0.9
    with pytest.raises(InputError, match="y has 1 columns; expected 2, as in fit"):
        model.score(X3, SUMS)


def test_the_same_seed_gives_the_same_bits_and_other_orders_the_same_answers():
    one, two = classifier().fit(RAGGED, ENDS), classifier().fit(RAGGED, ENDS)
    other = classifier(random_state=1).fit(RAGGED, ENDS)
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(array, two.parameters[name])
    assert any((array != other.parameters[name]).any() for name, array in one.parameters.items())
    order = np.random.default_rng(5).permutation(48)
    np.testing.assert_allclose(
        one.predict_proba([RAGGED[k] for k in order]),
        one.predict_proba(RAGGED)[order],
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        np.concatenate([one.predict_proba([x]) for x in RAGGED[:5]]),
        one.predict_proba(RAGGED)[:5],
        rtol=1e-6,
    )


def test_a_random_state_may_be_of_numpy_or_none():
    state = np.random.RandomState(0)
    one, two = (classifier(random_state=state).fit(X3, SIGNS) for _ in range(2))
    assert (one.parameters["head.weight"] != two.parameters["head.weight"]).any()  # it went on
    again = classifier(random_state=np.random.RandomState(0)).fit(X3, SIGNS)
    np.testing.assert_array_equal(one.parameters["head.weight"], again.parameters["head.weight"])
    classifier(random_state=None, epochs=1).fit(X3, SIGNS)
    classifier(random_state=np.random.default_rng(0), epochs=1).fit(X3, SIGNS)
    with pytest.raises(InputError, match="random_state is 'x'"):
        classifier(random_state="x").fit(X3, SIGNS)


def test_what_is_held_out_is_stratified_and_the_best_weights_are_kept():
    count = 330
    draw = np.random.default_rng(0)
    X, y = draw.normal(size=(count, 3)), np.repeat([0, 1, 2], [300, 27, 3])
    model = classifier(epochs=8, patience=2, learning_rate=0.5)
    data = model._read(X)
    train, kept, held = model._split(data, y, np.random.default_rng(0))
    assert len(kept) == train.size
    assert np.bincount(held[1], minlength=3).tolist() in ([30, 3, 0], [30, 2, 1], [30, 2, 0])
    assert set(kept) == {0, 1, 2}
    assert len(kept) + len(held[1]) == count
    stacked = np.concatenate([train.values, held[0].values]).ravel()
    np.testing.assert_array_equal(np.sort(stacked), np.sort(X.ravel()))
    model.fit(X, y)
    validated = [
        (line["validation_loss"], line["step"])
        for line in model.result_.history
        if "validation_loss" in line
    ]
    assert model.result_.reason == "patience"
    assert min(validated) == (model.result_.best_loss, model.result_.best_step)


def test_little_data_is_not_split():
    model = classifier(epochs=2, patience=1).fit(X3, SIGNS)
    assert model.result_.best_loss is None
    assert model.result_.steps == 2 * 3
    # Unless one says what to measure on.
    model.fit(X3[:40], SIGNS[:40], validation=(X3[40:], SIGNS[40:]))
    assert model.result_.best_loss is not None
    with pytest.raises(InputError, match="validation is a ndarray; expected a pair"):
        model.fit(X3, SIGNS, validation=X3)


def test_class_weights_move_the_answers():
    hard = np.tile(X3[:1], (48, 1, 1))  # nothing to tell them by
    y = np.repeat([0, 1], [36, 12])
    kwargs = {"epochs": 30, "learning_rate": 0.05}
    plain = classifier(**kwargs).fit(hard, y).predict_proba(hard[:1])[0]
    balanced = classifier(**kwargs, class_weight="balanced").fit(hard, y).predict_proba(hard[:1])
    given = classifier(**kwargs, class_weight={1: 27.0}).fit(hard, y).predict_proba(hard[:1])[0]
    np.testing.assert_allclose(plain, [0.75, 0.25], atol=0.05)
    np.testing.assert_allclose(balanced[0], [0.5, 0.5], atol=0.05)
    np.testing.assert_allclose(given, [0.1, 0.9], atol=0.05)


def test_partial_fit_goes_on():
    model = classifier()
    for k in range(0, 48, 12):
        model.partial_fit(RAGGED[k : k + 12], ENDS[k : k + 12], classes=["up", "down"])
    assert list(model.classes_) == ["down", "up"]
    assert int(model._memory["step"]) == 4  # Adam's own count goes on too
    before = {name: array.copy() for name, array in model.parameters.items()}
    center = model.scaling_.center
    model.partial_fit(RAGGED, ENDS)
    assert any((before[name] != array).any() for name, array in model.parameters.items())
    assert model.scaling_.center is center
    with pytest.raises(InputError, match="expected one of the classes down, up"):
        model.partial_fit(RAGGED, ["sideways"] * 48)
    values = regressor().partial_fit(X3, SUMS).partial_fit(X3, SUMS)
    assert values.predict(X3).shape == (48,)
    # One call is an epoch from new weights, with the same seed the same bits.
    np.testing.assert_array_equal(
        *(regressor().partial_fit(X3, SUMS).parameters["head.weight"] for _ in range(2))
    )


@pytest.mark.parametrize("missing", ["mask", "fill"])
def test_missing_numbers_by_choice(missing):
    X = [x.copy() for x in RAGGED]
    for k, x in enumerate(X):
        x[k % len(x), 1] = np.nan
    with pytest.raises(InputError, match=r"X is NaN in sequence 0, column 1, row 0; .*missing="):
        classifier().fit(X, ENDS)
    model = classifier(missing=missing).fit(X, ENDS)
    assert model.network_.lstm.input_size == (4 if missing == "mask" else 2)
    assert model.predict_proba(X).shape == (48, 2)
    X[3][0, 0] = np.inf
    with pytest.raises(InputError, match="X is inf in sequence 3, column 0, row 0"):
        model.predict(X)


def test_numbers_too_large_for_the_dtype_are_named():
    model = classifier(scaling=None).fit(X3, SIGNS)
    big = X3.copy()
    big[2, 1, 1] = 1e300
    with pytest.raises(InputError, match=r"X is 1e\+300 in sequence 2, column 1, row 1, too large"):
        model.predict(big)


def test_wrong_features_are_named():
    model = classifier().fit([pd.DataFrame(x, columns=["level", "flow"]) for x in X3], SIGNS)
    assert list(model.feature_names_in_) == ["level", "flow"]
    words = (
        r"X has 3 features, but SequenceClassifier is expecting 2 features as input.*level, flow"
    )
    with pytest.raises(InputError, match=words):
        model.predict(np.zeros((1, 4, 3)))
    turned = [pd.DataFrame(X3[0], columns=["flow", "level"])]
    with pytest.raises(InputError, match=r"should match those that were passed.*another order"):
        model.predict(turned)
    with pytest.raises(InputError, match="missing: flow; unknown: rain"):
        model.predict([pd.DataFrame(X3[0], columns=["level", "rain"])])
    model.predict(X3)  # an array has no names to disagree
    with pytest.raises(InputError, match=r"X has 1 features, .* expecting 2 .*rows \(n, T\)"):
        model.predict(X3[0])
    rows = classifier().fit(X3[:, :, 0], SIGNS)
    assert rows.n_features_in_ == 6
    with pytest.raises(InputError, match="X has 5 features, but SequenceClassifier is expecting 6"):
        rows.predict(X3[:, :5, 0])
    assert rows.predict(X3[:, :5, :1]).shape == (48,)  # an array (n, T, 1) has any number of steps


def test_answers_come_back_in_the_kind_of_the_frame():
    rows = X3[:, :, 0]
    frame = pd.DataFrame(rows, columns=list("abcdef"), index=np.arange(48) + 100)
    for made, answer in ((classifier(), SIGNS), (regressor(), SUMS)):
        model = made.fit(frame, pd.Series(answer, index=frame.index))
        found = model.predict(frame)
        assert isinstance(found, pd.Series)
        assert found.index.equals(frame.index)
        plain = model.predict(rows)
        np.testing.assert_array_equal(found.to_numpy(), plain)
        polar = model.predict(pl.DataFrame(rows, schema=list("abcdef")))
        assert isinstance(polar, pl.Series)
        np.testing.assert_array_equal(polar.to_numpy(), plain)
    assert isinstance(classifier().fit(frame, SIGNS).predict_proba(frame), np.ndarray)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"scaling": "best"}, "scaling is 'best'; expected one of"),
        ({"scaling": np.ones(2)}, "scaling is 'array.*; expected one of"),
        ({"missing": "drop"}, "missing is 'drop'"),
        ({"pooling": "sum"}, "pooling is 'sum'"),
        ({"hidden_size": 0}, "hidden_size is 0; expected at least 1"),
        ({"epochs": 1.5}, "epochs is 1.5; expected a whole number"),
        ({"learning_rate": -1}, "learning_rate is -1; expected above 0"),
        ({"validation_fraction": 1.0}, "validation_fraction is 1.0"),
        ({"patience": 0}, "patience is 0"),
        ({"dtype": "float16"}, "dtype is 'float16'"),
        ({"class_weight": "equal"}, "class_weight is 'equal'"),
    ],
)
def test_parameters_are_looked_at_by_fit_alone(change, words):
    model = classifier(**change)
    with pytest.raises(InputError, match=f"SequenceClassifier: {words}") as error:
        model.fit(X3, SIGNS)
    assert "\n" not in str(error.value)


def test_targets_that_cannot_be_used_are_refused_in_one_line():
    for y, words in (
        (None, "requires y to be passed, but the target y is None"),
        (SIGNS[:-1], "y has 47 entries and X 48 sequences"),
        (np.full(48, "a"), "y has 1 class"),
        (SUMS, "Unknown label type: .*continuous"),
        (X3, "y should be a 1d array"),
        (np.eye(3)[CLASSES], r"y has shape \(48, 3\); .*give y.argmax\(axis=1\)"),
        (["a", np.nan] * 24, r"y\[1\] is nan among text; expected text alone"),
        (["a", 1] * 24, r"y\[1\] is 1 among text"),
        ({"a": 1}, "y is of type dict; expected an array or a list"),
        (np.ma.masked_equal(CLASSES, 2), r"y\[2\] is masked"),
    ):
        with pytest.raises(InputError, match=words) as error:
            classifier().fit(X3, y)
        assert "\n" not in str(error.value)
    bad = SUMS.copy()
    bad[7] = np.nan
    with pytest.raises(InputError, match="y is nan in row 7; expected finite"):
        regressor().fit(X3, bad)
    with pytest.raises(InputError, match="y holds text"):
        regressor().fit(X3, np.array(["a"] * 48, object))
    with pytest.raises(InputError, match=r"y holds text, such as 'down'.*SequenceClassifier"):
        regressor().fit(X3, SIGNS)
    for validation, words in (
        ((X3, np.full(48, "z")), r"validation: y\[0\] is 'z'; expected one of"),
        ((X3[:, :, :1], SIGNS), "validation: X has 1 features"),
    ):
        with pytest.raises(InputError, match=f"^SequenceClassifier: {words}"):
            classifier().fit(X3, SIGNS, validation=validation)
    with pytest.raises(InputError, match=r"progress is True; expected lstmkit.progress.Progress"):
        classifier().fit(X3, SIGNS, progress=True)
    with pytest.warns(UserWarning, match="A column-vector y was passed"):
        classifier(epochs=1).fit(X3, SIGNS[:, None])
    with pytest.raises(TypeError, match=r"fit\(\) got an unexpected keyword argument 'weights'"):
        classifier().fit(X3, SIGNS, weights=1)


def test_a_model_that_knows_nothing_says_so():
    for call in ("predict", "predict_proba", "trace"):
        with pytest.raises(InputError, match=r"call fit or lk.load first"):
            getattr(classifier(), call)(X3)
    for name in ("network", "parameters", "config"):
        with pytest.raises(InputError, match=r"call fit or lk.load first"):
            getattr(classifier(), name)
    with pytest.raises(InputError, match=r"call fit or lk.load first"):
        classifier().stream()


# ----------------------------------------------------------------------------- looking and files


def test_a_trace_is_that_of_the_lstm_on_what_was_scaled():
    model = classifier(num_layers=2).fit(X3, SIGNS)
    trace = model.trace(X3[:4])
    assert trace.i.shape == (2, 4, 6, 6)
    logits = model.network_.head(trace.h[-1, :, -1])
    np.testing.assert_allclose(targets.softmax(logits), model.predict_proba(X3[:4]), rtol=1e-6)
    several = model.trace([X3[0], X3[1, :3]])
    assert [one.c.shape for one in several] == [(2, 1, 6, 6), (2, 1, 3, 6)]
    np.testing.assert_allclose(several[1].c[:, 0], trace.c[:, 1, :3], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("missing", ["error", "mask", "fill"])
def test_a_stream_says_what_predict_says_of_the_sequence_so_far(missing):
    X = X3[:5].copy()
    if missing != "error":
        X[0, 0, 0] = X[1, 2, 1] = X[1, 3, 1] = np.nan
    for model, answer in ((classifier(missing=missing), SIGNS), (regressor(missing=missing), SUMS)):
        model.fit(X3, answer)
        stream = model.stream(batch_size=5)
        for t in range(6):
            saved = stream.snapshot()
            found = stream.step(X[:, t])
            exact(found, model.predict(X[:, : t + 1]))
            stream.restore(saved)
            if model._type == "classifier":
                exact(stream.step_proba(X[:, t]), model.predict_proba(X[:, : t + 1]))
            else:
                stream.step(X[:, t])
        stream.reset(rows=[1])
        again = stream.step(X[:, 0])
        exact(again[1], model.predict(X[1:2, :1])[0])
        stream.reset()
        exact(stream.step(X[:, 0]), model.predict(X[:, :1]))


def test_a_stream_refuses_in_one_line_what_it_cannot_do():
    with pytest.raises(InputError, match="stream: the model is bidirectional"):
        classifier(bidirectional=True).fit(X3, SIGNS).stream()
    with pytest.raises(InputError, match="stream: pooling is 'mean', of all steps"):
        classifier(pooling="mean").fit(X3, SIGNS).stream()
    stream = regressor().fit(X3, SUMS).stream()
    with pytest.raises(InputError, match="values have no probabilities"):
        stream.step_proba(X3[:1, 0])
    with pytest.raises(InputError, match="x_t is nan in column 1, row 0"):
        stream.step([[0.0, np.nan]])
    with pytest.raises(InputError, match="x_t has shape"):
        stream.step([[0.0]])
    filled = regressor(missing="fill").fit(X3, SUMS).stream()
    with pytest.raises(InputError, match="snapshot is damaged"):
        filled.restore(filled.snapshot()[:-1])


@pytest.mark.parametrize(
    ("scaling", "bidirectional", "pooling"),
    [
        ("standard", False, "last"),
        ("standard", True, "mean"),
        ("minmax", True, "last"),
        ("minmax", False, "max"),
        (None, False, "mean"),
        (None, True, "max"),
    ],
)
def test_the_network_is_a_chain_that_says_the_same(scaling, bidirectional, pooling, tmp_path):
    options = {"scaling": scaling, "bidirectional": bidirectional, "pooling": pooling}
    options |= {"dtype": "float64", "epochs": 1}
    shifted = X3 * [3.0, 0.1] + [50.0, -2.0]
    model = regressor(**options).fit(shifted, SUMS + 7)
    found = model.network(shifted)[0][:, 0]
    np.testing.assert_allclose(found, model.predict(shifted), rtol=1e-9)
    model = classifier(**options).fit(shifted, SIGNS)
    chances = targets.softmax(model.network(shifted)[0])
    np.testing.assert_allclose(chances, model.predict_proba(shifted), rtol=1e-9)
    # Of several lengths too, and as the chain's own file.
    lengths = np.array([1 + k % 6 for k in range(48)])
    ragged = [x[:length] for x, length in zip(shifted, lengths, strict=True)]
    model.network.save(tmp_path / "chain.safetensors")
    logits = lk.load(tmp_path / "chain.safetensors")(shifted, lengths=lengths)[0]
    np.testing.assert_allclose(targets.softmax(logits), model.predict_proba(ragged), rtol=1e-9)


def test_the_network_with_a_mask_takes_the_features_and_what_is_missing():
    model = classifier(missing="mask", dtype="float64").fit(X3, SIGNS)
    X = X3[:4].copy()
    X[1, 2, 0] = np.nan
    gone = np.isnan(X)
    given = np.concatenate([np.where(gone, model.scaling_.mean, X), gone], axis=2)
    chances = targets.softmax(model.network(given)[0])
    np.testing.assert_allclose(chances, model.predict_proba(X), rtol=1e-9)


MODELS = {
    "classes": lambda: classifier(class_weight={"up": 2.0}).fit(RAGGED, ENDS),
    "object classes": lambda: classifier().fit(X3, SIGNS.astype(object)),
    "numbers": lambda: classifier(pooling="max", missing="mask").fit(X3[:, :, 0], CLASSES),
    "floats": lambda: classifier(bidirectional=True).fit(X3, CLASSES.astype(float)),
    "names": lambda: classifier().fit(pd.DataFrame(X3[:, :, 0], columns=list("abcdef")), SIGNS),
    "value": lambda: regressor(scaling="minmax", dtype="float64").fit(X3, SUMS),
    "values": lambda: regressor(pooling="mean").fit(X3, X3[:, 0]),
}


@pytest.mark.parametrize("kind", MODELS)
def test_a_saved_model_is_the_same_to_the_bit(kind, tmp_path):
    model = MODELS[kind]()
    X = RAGGED if kind == "classes" else X3[:, :, 0] if model._columns else X3
    path = tmp_path / "model.safetensors"
    model.save(path)
    for again in (lk.load(path), pickle.loads(pickle.dumps(model))):
        assert type(again) is type(model)
        np.testing.assert_array_equal(again.predict(X), model.predict(X))
        assert np.asarray(again.predict(X)).dtype == np.asarray(model.predict(X)).dtype
        assert repr(again) == repr(model)
        assert again.n_features_in_ == model.n_features_in_
        assert again.config == json.loads(json.dumps(model.config))
        assert again.get_params() == model.get_params()
        again.partial_fit(X, model.predict(X))


def test_hostile_configs_are_refused_in_one_line(tmp_path):
    model = classifier().fit(X3, SIGNS)
    config, arrays = model.config, model.parameters
    learned = config["learned"]
    path = tmp_path / "model.safetensors"
    changes = [
        {"hidden_size": 10**9},
        {"hidden_size": "6"},
        {"num_layers": 1000},
        {"dtype": "float64"},
        {"pooling": ["last"]},
        {"class_weight": [1]},
        {"random_state": -1},
        {"epochs": None},
        {"extra": 1},
        {"learned": []},
        {"learned": learned | {"features": 3}},
        {"learned": learned | {"features": 10**9}},
        {"learned": learned | {"center": [0.0, "x"]}},
        {"learned": learned | {"scale": [0.0, 1.0]}},
        {"learned": learned | {"names": ["a"]}},
        {"learned": learned | {"names": [1, 2]}},
        {"learned": learned | {"columns": -1}},
        {"learned": learned | {"classes": ["a"]}},
        {"learned": learned | {"classes": ["b", "a"]}},
        {"learned": learned | {"classes": ["a", "b", "c"]}},
        {"learned": learned | {"classes_dtype": "V8"}},
        {"learned": {k: v for k, v in learned.items() if k != "classes"}},
    ]
    for change in changes:
        store.save(path, "SequenceClassifier", config | change, arrays)
        with pytest.raises(InputError) as error:
            lk.load(path)
        assert "\n" not in str(error.value), change
    for wrong in (
        {name: array for name, array in arrays.items() if name != "head.bias"},
        arrays | {"more": np.zeros(1, np.float32)},
        arrays | {"head.bias": np.zeros(3, np.float32)},
    ):
        store.save(path, "SequenceClassifier", config, wrong)
        with pytest.raises(InputError, match=r"head.bias is|more is"):
            lk.load(path)


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(tmp_path):
    whole = classifier(epochs=4).fit(X3, SIGNS)
    path = tmp_path / "run.safetensors"
    log = tmp_path / "log.jsonl"
    part = classifier(epochs=4)

    class Stop(Exception):
        pass

    from lstmkit import training

    calls = []
    evaluate = training._gradients

    def stop(*args):
        calls.append(1)
        if len(calls) > 7:
            raise Stop
        return evaluate(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_gradients", stop)
        with pytest.raises(Stop):
            part.fit(X3, SIGNS, checkpoint=path, checkpoint_every=3, metrics=log)
    resumed = classifier(epochs=4).fit(
        X3, SIGNS, checkpoint=path, checkpoint_every=3, metrics=log, resume=True
    )
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(array, resumed.parameters[name])
    np.testing.assert_array_equal(lk.load(path).predict(X3), whole.predict(X3))
    assert json.loads(log.read_text().splitlines()[-1])["step"] == 12
    with pytest.raises(InputError, match="of another model or text"):
        classifier(epochs=4).fit(X3[:40], SIGNS[:40], checkpoint=path, resume=True)
    with pytest.raises(InputError, match="resume is True and random_state is None"):
        classifier(random_state=None).fit(X3, SIGNS, checkpoint=path, resume=True)


# ------------------------------------------------------------------------------- scikit-learn


def test_parameters_are_got_set_and_shown():
    model = classifier(class_weight={1: 2})
    assert model.get_params()["class_weight"] == {1: 2}
    assert model.set_params(hidden_size=9) is model
    assert model.hidden_size == 9
    with pytest.raises(InputError, match="Invalid parameter 'size'; expected one of hidden_size"):
        model.set_params(size=1)
    assert repr(lk.SequenceRegressor(8, dtype="float64")) == (
        "SequenceRegressor(hidden_size=8, dtype='float64')"
    )


@pytest.mark.parametrize(
    "change", [{"hidden_size": 9}, {"missing": "mask"}, {"pooling": "mean"}, {"scaling": None}]
)
def test_a_model_is_not_used_with_arguments_that_it_was_not_made_with(change, tmp_path):
    model = classifier(epochs=1).fit(X3, SIGNS)
    before = {name: getattr(model, name) for name in change}
    model.set_params(**change, epochs=2)
    ((name, value),) = change.items()
    words = f"{name} is {value!r} and the model was fitted with {before[name]!r}; call fit again"
    for use in (
        lambda: model.predict(X3),
        lambda: model.save(tmp_path / "model.safetensors"),
        lambda: model.partial_fit(X3, SIGNS),
        model.stream,
    ):
        with pytest.raises(InputError, match=words):
            use()
    assert not list(tmp_path.iterdir())
    model.set_params(**before).predict(X3)
    model.set_params(**change).fit(X3, SIGNS).predict(X3)


def test_scikit_learn_knows_what_it_is():
    from sklearn.base import clone, is_classifier, is_regressor
    from sklearn.exceptions import NotFittedError
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.utils import get_tags

    assert is_classifier(classifier())
    assert is_regressor(regressor())
    assert get_tags(classifier(missing="mask")).input_tags.allow_nan
    assert clone(classifier(hidden_size=3)).hidden_size == 3
    with pytest.raises(NotFittedError, match="call fit") as error:
        classifier().predict(X3)
    assert isinstance(error.value, InputError)
    rows = X3[:, :, 0]
    pipeline = make_pipeline(StandardScaler(), classifier()).fit(rows, SIGNS)
    assert pipeline.predict_proba(rows).shape == (48, 2)
