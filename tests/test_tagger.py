"""SequenceTagger: a label, values or yes-or-no labels for every step."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

import lstmkit as lk
from lstmkit.shapes import InputError

rng = np.random.default_rng(0)
X3 = rng.normal(size=(40, 7, 2))
TAGS = np.where(X3[:, :, 0].cumsum(axis=1) > 0, "high", "low")
LENGTHS = 1 + np.arange(40) % 7
RAGGED = [x[:n] for x, n in zip(X3, LENGTHS, strict=True)]
RAGGED_TAGS = [tags[:n] for tags, n in zip(TAGS, LENGTHS, strict=True)]
BITS = [(x > 0).astype(int) for x in RAGGED]
VALUES = [x[:, 0].cumsum() for x in RAGGED]


def exact(found, wanted):
    """Equal bits with the native engine; with NumPy's library products of other shapes round."""
    if lk.backend() == "numpy" and found.dtype.kind == "f":
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    else:
        np.testing.assert_array_equal(found, wanted)


def tagger(**options):
    given = {"hidden_size": 6, "epochs": 3, "batch_size": 8, "random_state": 0}
    return lk.SequenceTagger(**given | options)


def test_it_learns_the_label_of_every_step():
    model = tagger(hidden_size=16, epochs=40, learning_rate=0.02).fit(RAGGED, RAGGED_TAGS)
    assert model.score(RAGGED, RAGGED_TAGS) > 0.9
    found = model.predict(RAGGED)
    assert [len(tags) for tags in found] == LENGTHS.tolist()
    flat = np.concatenate(found)
    assert model.score(RAGGED, RAGGED_TAGS) == np.mean(flat == np.concatenate(RAGGED_TAGS))
    chances = model.predict_proba(RAGGED)
    assert [c.shape for c in chances] == [(n, 2) for n in LENGTHS]
    for one, tags in zip(chances, found, strict=True):
        np.testing.assert_array_equal(model.classes_[one.argmax(axis=1)], tags)
    right = np.concatenate(chances)[
        np.arange(LENGTHS.sum()), (np.concatenate(RAGGED_TAGS) == "low").astype(int)
    ]
    loss = model.loss(RAGGED, RAGGED_TAGS)
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-5)


def test_it_learns_several_labels_a_step():
    model = tagger(task="labels", hidden_size=16, epochs=40, learning_rate=0.02).fit(RAGGED, BITS)
    assert model.score(RAGGED, BITS) > 0.9
    chances = np.concatenate(model.predict_proba(RAGGED))
    found = np.concatenate(model.predict(RAGGED))
    np.testing.assert_array_equal(found, (chances > 0.5).astype(int))
    wanted = np.concatenate(BITS)
    nats = -np.log(np.where(wanted, chances, 1 - chances)).sum(axis=1).mean()
    assert model.loss(RAGGED, BITS) == pytest.approx(nats, rel=1e-5)


def test_it_learns_the_value_of_every_step():
    model = tagger(task="value", hidden_size=16, epochs=40, learning_rate=0.02)
    model.fit(RAGGED, VALUES)
    assert model.score(RAGGED, VALUES) > 0.9
    assert model.predict(RAGGED)[6].shape == (7,)
    with pytest.raises(InputError, match='task is "value", which has no probabilities'):
        model.predict_proba(RAGGED)
    pairs = [np.stack([v, 5 - v], axis=1) for v in VALUES]
    model.set_params(epochs=1).fit(RAGGED, pairs)
    assert model.predict(RAGGED)[6].shape == (7, 2)


def test_what_stands_past_an_end_has_no_say():
    """Ragged sequences learn the same as when each batch holds one length alone."""
    model = tagger(batch_size=40).fit(RAGGED, RAGGED_TAGS)
    batches = model._batches(model._read(RAGGED), model._targets(RAGGED_TAGS, model._read(RAGGED)))
    batch = batches.batch(0)
    assert batch.count == LENGTHS.sum() < batch.inputs.shape[0] * batch.inputs.shape[1]
    spoilt = batch.inputs.copy()
    spoilt[np.arange(7) >= batch.lengths[:, None]] = 99
    for loss_of in (batch.inputs, spoilt):
        prediction, _, tape = model.network_.forward(loss_of, lengths=batch.lengths)
        value, gradient = model._loss(batch.targets)(prediction, batch.targets)
        grads = model.network_.backward(tape, gradient)
        if loss_of is batch.inputs:
            first, firsts = value, grads
    assert value == first
    for name, array in grads.items():
        np.testing.assert_array_equal(array, firsts[name])


def test_answers_come_back_in_the_kind_of_what_was_given():
    model = tagger().fit(X3, TAGS)
    assert model.predict(X3).shape == (40, 7)
    assert model.predict_proba(X3).shape == (40, 7, 2)
    flat = model.predict(RAGGED)
    assert isinstance(flat, list)
    assert isinstance(flat[0], np.ndarray)
    frames = [pd.DataFrame(x, columns=["a", "b"], index=10 + np.arange(len(x))) for x in RAGGED]
    found = model.predict(frames)
    assert found[3].index.equals(frames[3].index)
    assert found[3].tolist() == flat[3].tolist()
    polar = model.predict([pl.DataFrame(x, schema=["a", "b"]) for x in RAGGED])
    assert polar[3].to_list() == flat[3].tolist()
    rows = tagger().fit(X3[:, :, 0], TAGS)
    assert rows.predict(X3[:, :, 0]).shape == (40, 7)


@pytest.mark.parametrize(
    ("task", "y"), [("label", RAGGED_TAGS), ("labels", BITS), ("value", VALUES)]
)
def test_a_saved_model_and_a_stream_say_the_same_to_the_bit(task, y, tmp_path):
    model = tagger(task=task).fit(RAGGED, y)
    model.save(tmp_path / "model.safetensors")
    again = lk.load(tmp_path / "model.safetensors")
    assert again.config == model.config
    for one, two in zip(again.predict(RAGGED), model.predict(RAGGED), strict=True):
        np.testing.assert_array_equal(one, two)
    stream = model.stream()
    steps = np.concatenate([stream.step(x[None]) for x in RAGGED[6]])
    exact(steps, model.predict(RAGGED)[6])
    if task != "value":
        stream.reset()
        steps = np.concatenate([stream.step_proba(x[None]) for x in RAGGED[6]])
        exact(steps, model.predict_proba(RAGGED)[6])
    again.partial_fit(RAGGED, y)


def test_the_network_is_a_chain_of_every_step():
    model = tagger(task="value", dtype="float64", bidirectional=True).fit(X3, X3[:, :, 0])
    np.testing.assert_allclose(
        model.network(X3)[0][:, :, 0], model.predict(X3), rtol=1e-9, atol=1e-12
    )


def test_a_share_of_many_sequences_is_held_out():
    model = tagger(epochs=1).fit(np.repeat(X3, 8, axis=0), np.repeat(TAGS, 8, axis=0))
    assert model.result_.best_loss is not None
    assert model.result_.tokens == (320 - 32) * 7


@pytest.mark.parametrize(
    ("options", "y", "words"),
    [
        ({}, None, "requires y to be passed"),
        ({}, RAGGED_TAGS[:-1], "y has 39 entries and X 40 sequences"),
        ({}, [t[:1] for t in RAGGED_TAGS], r"y\[1\] has shape \(1,\).*2 steps of X\[1\]"),
        ({}, BITS, r"y\[0\] has shape \(1, 2\)"),
        ({}, [np.full(n, "a") for n in LENGTHS], "y has 1 class, 'a'"),
        ({}, VALUES, "Unknown label type"),
        ({"task": "labels"}, VALUES, r"y\[0\]\[0\], column 0 is .* expected 0 or 1"),
        ({"task": "value"}, RAGGED_TAGS, "y has dtype|y holds text"),
        ({"task": "value"}, [v * np.nan for v in VALUES], r"y\[0\]\[0\] is nan"),
        ({"task": "many"}, BITS, "task is 'many'"),
        ({"task": "labels", "class_weight": "balanced"}, BITS, "class_weight is given with task"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(options, y, words):
    with pytest.raises(InputError, match=words) as error:
        tagger(**options).fit(RAGGED, y)
    assert str(error.value).startswith("SequenceTagger: ")
    assert "\n" not in str(error.value)


def test_columns_must_be_as_many_as_in_fit():
    model = tagger(task="value").fit(RAGGED, VALUES)
    with pytest.raises(InputError, match="y has 2 columns; expected 1, as in fit"):
        model.loss(RAGGED, [np.stack([v, v], axis=1) for v in VALUES])


def test_class_weights_move_the_answers():
    hard = np.zeros((40, 3))
    y = np.tile(["rare", "often", "often"], (40, 1))
    y[1::2] = "often"
    options = {"epochs": 150, "learning_rate": 0.05, "hidden_size": 2, "batch_size": 40}
    mean = tagger(**options).fit(hard, y).predict_proba(hard)[:, 0].mean(axis=0)
    even = tagger(**options, class_weight="balanced").fit(hard, y).predict_proba(hard)
    assert mean[1] == pytest.approx(0.5, abs=0.1)  # at the first step half are rare
    assert even[:, 0].mean(axis=0)[1] == pytest.approx(5 / 6, abs=0.1)  # 1/2 · 5 against 1/2 · 1


def test_yes_or_no_labels_are_learned_by_their_sum_over_a_step():
    """Not by their mean, whose gradients the bound of the norm would never meet."""
    model = tagger(
        task="labels", epochs=1, batch_size=40, learning_rate=1e-12, validation_fraction=None
    ).fit(RAGGED, BITS)
    assert model.result_.history[0]["loss"] == pytest.approx(model.loss(RAGGED, BITS), rel=1e-5)


def test_a_target_that_is_wrong_is_named_by_sequence_and_step():
    X = [np.ones((2, 1)), np.ones((3, 1))]
    for task, y, words in (
        ("label", [["a", "b"], ["a", "b", 1]], r"y\[1\]\[2\] is 1 among text"),
        ("label", [[0.0, 1.0], [0.0, np.nan, 1.0]], r"y\[1\]\[1\] is nan, which is missing"),
        ("label", [[0.0, 1.0], [0.0, 0.5, 1.0]], r'y\[1\]\[1\] is 0.5.*take task="value"'),
        ("label", [[0, 1], np.array([0, None, 1])], r"y\[1\]\[1\] is None"),
        ("label", "up", "y is 'up'; expected one for each"),
        ("value", [["a", "b"], ["a", "b", "c"]], r"y holds text, such as 'a'.*task=\"label\""),
        ("labels", [[[0, 1]] * 2, [[0, 1], [0, 1], [0, 2]]], r"y\[1\]\[2\], column 1 is 2;"),
    ):
        with pytest.raises(InputError, match=words) as error:
            lk.SequenceTagger(2, task=task, epochs=1).fit(X, y)
        assert "\n" not in str(error.value)
    model = lk.SequenceTagger(2, task="labels", epochs=1).fit(X, [[[0, 1]] * 2, [[0, 1]] * 3])
    with pytest.raises(InputError, match="y has 1 columns; expected 2, as in fit"):
        model.score(X, [[0, 1], [0, 1, 1]])
    model = lk.SequenceTagger(2, epochs=1).fit(X, [["a", "b"], ["a", "b", "a"]])
    with pytest.raises(InputError, match=r"y\[1\]\[0\] is 'z'; expected one of the classes a, b"):
        model.loss(X, [["a", "b"], ["z", "b", "a"]])
