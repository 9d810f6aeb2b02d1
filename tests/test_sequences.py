"""Reading sequences, scaling them and what is missing: `lstmkit.tasks.sequences` and `scaling`."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lstmkit.shapes import InputError
from lstmkit.tasks import sequences, targets
from lstmkit.tasks.network import SequenceBatches
from lstmkit.tasks.scaling import Scaling, settle, width


def read(X):
    return sequences.read("T", X)


def test_an_array_a_table_and_a_list_say_what_they_were():
    X = np.arange(24.0).reshape(2, 4, 3)
    array = read(X)
    assert (array.kind, array.size, array.columns) == ("array", 2, 3)
    np.testing.assert_array_equal(array.values, X.reshape(8, 3))
    table = read(X[:, :, 0])
    assert (table.kind, table.size, table.columns) == ("table", 2, 4)
    np.testing.assert_array_equal(table.values[:, 0], X[:, :, 0].ravel())
    ragged = read([X[0], X[1, :2]])
    assert (ragged.kind, ragged.size, ragged.columns) == ("list", 2, 3)
    np.testing.assert_array_equal(ragged.lengths, [4, 2])
    flat = read([np.arange(3), np.arange(2)])
    assert (flat.columns, flat.values.shape) == (1, (5, 1))
    np.testing.assert_array_equal(ragged.take(np.array([1])).values, X[1, :2])


def test_nested_lists_are_arrays_where_they_can_be():
    assert read([[1, 2], [3, 4]]).kind == "table"
    assert read([[1, 2, 3], [3, 4]]).kind == "list"
    assert read([[[1], [2]], [[3]]]).values.shape == (3, 1)
    objects = np.empty(2, object)
    objects[:] = [np.ones((2, 3)), np.ones((4, 3))]
    assert read(objects).lengths.tolist() == [2, 4]


def test_float32_is_kept_and_all_else_is_float64():
    for given, kept in (("float16", "float32"), ("float32", "float32"), ("int8", "float64")):
        assert read(np.ones((2, 3), given)).values.dtype == kept
    assert read(np.array([[1, None], [2.5, True]], object)).values.dtype == "float64"


@pytest.mark.parametrize("library", [pd, pl])
def test_frames_keep_their_names_and_their_gaps(library):
    frame = library.DataFrame({"a": [1, None], "b": [2.5, 3.5], "c": [True, False]})
    found = read(frame)
    assert found.names == ["a", "b", "c"]
    np.testing.assert_array_equal(found.values[:, 0], [1, 2.5, 1, np.nan, 3.5, 0])
    several = read([frame, frame])
    assert (several.kind, several.columns, several.size) == ("list", 3, 2)


@pytest.mark.parametrize(
    ("X", "words"),
    [
        (None, "expected an array"),
        ("text", "expected an array"),
        (np.ones(3), "Reshape your data"),
        ([], r"0 sample\(s\)"),
        ({1, 2}, "X is of type set; expected an array"),
        (pl.DataFrame({"a": [1.0]}).lazy(), "X is of type LazyFrame; .*a frame in memory"),
        (pd.DataFrame(np.ones((2, 2)), columns=["a", "a"]), "columns with names of their own"),
        (np.ones((2, 3, 4, 5)), "Reshape your data"),
        (np.ones((0, 3)), r"0 sample\(s\) \(shape=\(0, 3\)\)"),
        (np.ones((2, 0)), r"0 feature\(s\)"),
        (np.ones((2, 0, 3)), r"0 step\(s\)"),
        (np.ones((2, 3)) * 1j, "Complex data not supported"),
        ([[1, 2], [3, "x"]], "dtype|column 1, row 1 is 'x'"),
        (np.array([[1, 2], [3, "x"]], object), "column 1, row 1 is 'x'; expected a number"),
        (np.array([[1, {}]], object), r"column 1, row 0 is \{\}, of type dict"),
        ([np.ones((2, 3)), np.ones((2, 4))], r"X\[1\] has 4 features; expected 3"),
        ([np.ones((2, 3)), np.ones(2)], "expected all with features or all without"),
        ([np.ones((2, 3)), np.ones((0, 3))], r"X\[1\] has 0 steps"),
        ([np.ones((2, 3)), np.full((2, 3), "x")], r"X\[1\], column 0, row 0 is 'x'"),
        (pd.DataFrame({"a": [1, 2], "b": ["u", "v"]}), "column 'b', row 0 is 'u'"),
        (pl.DataFrame({"a": [1, 2], "b": ["u", "v"]}), "column 'b', row 0 is 'u'"),
        ([pd.DataFrame({"a": [1.0]}), pd.DataFrame({"b": [1.0]})], "has the columns b; expected"),
    ],
)
def test_what_is_no_sequence_is_refused_in_one_line(X, words):
    with pytest.raises(InputError, match=words) as error:
        read(X)
    assert str(error.value).startswith("T: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "place"),
    [
        (lambda X: X, "sequence 1, column 2, row 3"),
        (lambda X: X[:, :, 2], "column 3, row 1"),
        (lambda X: [X[0, :2], X[1]], "sequence 1, column 2, row 3"),
        (lambda X: [X[0, :2, 2], X[1, :, 2]], "sequence 1, row 3"),
        (lambda X: pd.DataFrame(X[:, :, 2], columns=list("abcd")), "column 'd', row 1"),
    ],
)
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "-inf")])
def test_nan_and_inf_are_named_with_their_place(make, place, value, word):
    X = np.ones((2, 4, 3))
    X[1, 3, 2] = value
    data = read(make(X))
    with pytest.raises(InputError, match=f"X is {word} in {place}; expected finite"):
        sequences.check_finite("T", data, missing=False)
    if word == "NaN":
        sequences.check_finite("T", data, missing=True)
    else:
        with pytest.raises(InputError, match=place):
            sequences.check_finite("T", data, missing=True)


# ------------------------------------------------------------------------------------ scaling


def test_scaling_is_that_of_the_steps_that_are_there():
    values = np.array([[1.0, 5.0], [np.nan, 5.0], [3.0, 5.0], [8.0, 5.0]])
    standard = Scaling.learn("T", values, "standard")
    there = np.array([1.0, 3.0, 8.0])
    np.testing.assert_allclose(standard.center, [4.0, 5.0], rtol=1e-15)
    np.testing.assert_allclose(standard.scale, [there.std(), 1.0], rtol=1e-15)
    small = Scaling.learn("T", values, "minmax")
    np.testing.assert_array_equal(small.apply(values, "float64")[[0, 3], 0], [0.0, 1.0])
    none = Scaling.learn("T", values, None)
    np.testing.assert_array_equal(none.apply(values, "float64"), values)
    np.testing.assert_array_equal(none.mean, [4.0, 5.0])
    np.testing.assert_allclose(standard.undo(standard.apply(values, "float64")), values)


def test_a_constant_feature_is_not_blown_up():
    values = np.full((7, 1), 0.1)  # their mean is not quite 0.1
    assert Scaling.learn("T", values, "standard").scale[0] == 1


def test_numbers_too_large_to_scale_are_refused():
    with pytest.raises(InputError, match=r"column 0 has numbers up to 1e.308, too large"):
        Scaling.learn("T", np.array([[-1e308], [1e308]]), "standard")


def test_what_is_missing_is_masked_or_filled():
    gap = np.nan
    values = np.array([[gap, 1], [2, gap], [gap, 3], [gap, 4], [5, gap]])
    lengths, middle = np.array([3, 2]), np.array([0.5, 0.25])
    masked = settle(values, lengths, "mask", middle)
    assert masked.shape[1] == width(2, "mask") == 4
    np.testing.assert_array_equal(masked[:, 2:], np.isnan(values))
    np.testing.assert_array_equal(masked[:, 0], [0.5, 2, 0.5, 0.5, 5])
    filled = settle(values, lengths, "fill", middle)
    # The second sequence does not see the first one's last number.
    np.testing.assert_array_equal(filled, [[0.5, 1], [2, 1], [2, 3], [0.5, 4], [5, 4]])


# ------------------------------------------------------------------------------------ targets


def test_labels_are_text_or_whole_numbers():
    for given in ([1, 2], ["a", "b"], [True, False], [1.0, 2.0], np.array(["a", "b"], object)):
        array = np.asarray(given)
        classes = targets.classes_in("T", targets.labels("T", array))
        np.testing.assert_array_equal(classes[targets.encode("T", array, classes)], array)
    for wrong in ([0.5, 1.0], [np.nan, 1.0], np.array([1, "a"], object), [1j, 2]):
        with pytest.raises(InputError, match=r"Unknown label type|Complex data"):
            targets.labels("T", np.asarray(wrong))
    with pytest.raises(InputError, match="y has 1 class, 'a'; expected at least 2"):
        targets.classes_in("T", np.array(["a", "a"]))
    with pytest.raises(InputError, match=r"y\[1\] is '?zz'?; expected one of the classes a, b"):
        targets.encode("T", np.array(["a", "zz"]), np.array(["a", "b"]))


def test_class_weights_have_the_mean_1_over_the_data():
    classes, encoded = np.array(["a", "b"]), np.array([0, 0, 0, 1])
    balanced = targets.weights_of("T", "balanced", classes, encoded)
    np.testing.assert_allclose(balanced, [2 / 3, 2.0], rtol=1e-15)
    given = targets.weights_of("T", {"b": 5}, classes, encoded)
    np.testing.assert_allclose(given, [0.5, 2.5], rtol=1e-15)
    for wrong, words in (({"c": 1}, "has the class 'c'"), ({"a": -1}, "at least 0"), (3, "is 3")):
        with pytest.raises(InputError, match=words):
            targets.weights_of("T", wrong, classes, encoded)


def test_a_hostile_list_of_classes_is_refused():
    for classes, dtype in (
        ([1, 1], "int64"), ([2, 1], "int64"), ([1], "int64"), ("ab", "str"), ([[1]], "int64"),
        ([1, 2], "V8"), (["a" * 10**5] * 1000, "str"), ([1, 300], "int8"),
    ):  # fmt: skip
        with pytest.raises((InputError, OverflowError)):
            targets.classes_of("T", {"classes": classes, "classes_dtype": dtype})


# ------------------------------------------------------------------------------------ batches


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("steps", [False, True])
def test_batches_hold_every_sequence_once_and_the_same_for_a_position(ragged, steps):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 6, 23) if ragged else np.full(23, 5)
    tokens = int(lengths.sum())
    values = np.arange(tokens, dtype=float)[:, None] + 1
    starts = np.cumsum(lengths) - lengths
    wanted = np.arange(tokens) if steps else np.arange(23)
    batches = SequenceBatches(values, lengths, wanted, steps=steps, batch_size=4, seed=1)
    assert batches.steps_per_epoch == 6
    seen, count = [], 0
    for position in range(6):
        batch = batches.batch(position)
        again = batches.batch(position)
        np.testing.assert_array_equal(batch.inputs, again.inputs)
        own = (
            batch.lengths
            if batch.lengths is not None
            else [batch.inputs.shape[1]] * len(batch.inputs)
        )
        count += batch.count
        for row, length in enumerate(own):
            first = int(batch.inputs[row, 0, 0]) - 1
            k = int(np.flatnonzero(starts == first)[0])
            seen.append(k)
            assert length == lengths[k]
            np.testing.assert_array_equal(
                batch.inputs[row, :length], values[first : first + length]
            )
            if steps:
                np.testing.assert_array_equal(
                    batch.targets[row, :length], np.arange(first, first + length)
                )
                assert (batch.targets[row, length:] == -1).all()
            else:
                assert batch.targets[row] == k
    assert sorted(seen) == list(range(23))
    assert count == (tokens if steps else 23)
    other = SequenceBatches(values, lengths, wanted, steps=steps, batch_size=4, seed=2)
    assert any(
        a.inputs.shape != b.inputs.shape or (a.inputs != b.inputs).any()
        for a, b in ((batches.batch(k), other.batch(k)) for k in range(6))
    )


def test_values_of_steps_past_an_end_are_masked():
    lengths = np.array([2, 3])
    batches = SequenceBatches(
        np.ones((5, 1)), lengths, np.ones((5, 2)), steps=True, batch_size=2, seed=None
    )
    batch = batches.batch(0)
    np.testing.assert_array_equal(batch.mask, [[True, True, False], [True, True, True]])
    assert batch.count == 5


def test_what_is_masked_is_missing_and_a_column_may_hold_sequences():
    table = sequences.read("model", np.ma.masked_equal(np.arange(6).reshape(2, 3), 4))
    np.testing.assert_array_equal(table.values[:, 0], [0, 1, 2, 3, np.nan, 5])
    ragged = sequences.read("model", [np.ma.masked_equal([1.0, 2.0], 2.0), np.ones(3)])
    np.testing.assert_array_equal(ragged.values[:, 0], [1, np.nan, 1, 1, 1])
    for column in (pd.Series([np.ones(2), np.zeros(3)]), pl.Series([[1.0, 1.0], [0.0] * 3])):
        found = sequences.read("model", column)
        assert found.lengths.tolist() == [2, 3]
        assert found.values[:, 0].tolist() == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("kind", ["M8[D]", "m8[D]"])
def test_times_and_spans_of_time_are_no_numbers(kind):
    with pytest.raises(InputError, match=r"X, column 0, row 0 is .*\(take the column out"):
        sequences.read("model", np.arange(6).reshape(2, 3).astype(kind))
