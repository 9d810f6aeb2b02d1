"""Trained estimators as files of other libraries, which give what the estimators predict."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import lstmkit as lk
from lstmkit import converting
from lstmkit.formats import keras as keras_files
from lstmkit.layers import Masking
from lstmkit.tasks import targets

pytestmark = [
    pytest.mark.conformance,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # PyTorch's
    pytest.mark.filterwarnings("ignore:Layer .* does not support masking:UserWarning"),
    pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask:UserWarning"),
]

rng = np.random.default_rng(0)
X = rng.normal(size=(24, 5, 2)) * [3.0, 0.1] + [5.0, -2.0]
LABELS = np.where(X[:, -1, 0] > 5, "up", "down")
MODELS = {
    "mean": lk.SequenceClassifier(4, pooling="mean", bidirectional=True, epochs=1, random_state=0),
    "max": lk.SequenceClassifier(4, 2, pooling="max", epochs=1, random_state=0),
    "last": lk.SequenceClassifier(4, bidirectional=True, epochs=1, random_state=0),
    "values": lk.SequenceRegressor(4, pooling="mean", epochs=1, random_state=0),
    "steps": lk.SequenceTagger(4, bidirectional=True, epochs=1, random_state=0),
}


def fitted(name):
    answers = {"values": X[:, 0, 0], "steps": X[:, :, 0] > 5}
    return MODELS[name].fit(X, answers.get(name, LABELS))


def answered(model, found):
    """What is said of the network's outputs."""
    if isinstance(model, lk.SequenceRegressor):
        return found[:, 0]
    return targets.softmax(found)


def test_the_example_of_the_page_runs(tmp_path, monkeypatch):
    """``py``, not ``python``: the other examples of the pages run where there is no ONNX."""
    page = Path(__file__).parents[2] / "docs" / "classification.md"
    text = page.read_text(encoding="utf-8")
    (example,) = re.findall(r"^```\{code-block\} py\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    model = fitted("mean")
    exec(compile(example, page.name, "exec"), {"model": model})
    session = pytest.importorskip("onnxruntime").InferenceSession("first.onnx")
    (found,) = session.run(None, {"x": X.astype(np.float32), "lengths": np.full(24, 5, np.int32)})
    np.testing.assert_allclose(answered(model, found), model.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_onnx_runtime_says_what_the_estimator_says(name, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    model = fitted(name)
    model.save(tmp_path / "model.safetensors")
    path = tmp_path / "model.onnx"
    done = converting.convert(tmp_path / "model.safetensors", path, lengths=True)
    assert done.good
    assert "ONNX Runtime" in done.checks[-1].by
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    lengths = np.array([1 + k % 5 for k in range(24)], np.int32)
    (found,) = session.run(None, {"x": X.astype(np.float32), "lengths": lengths})
    ragged = [x[:length] for x, length in zip(X, lengths, strict=True)]
    if name == "steps":
        wanted = model.predict_proba(ragged)
        for k, length in enumerate(lengths):
            np.testing.assert_allclose(targets.softmax(found[k, :length]), wanted[k], atol=1e-5)
        return
    wanted = model.predict(ragged) if name == "values" else model.predict_proba(ragged)
    np.testing.assert_allclose(answered(model, found), wanted, atol=1e-5)
    # And back again, to the bit.
    np.testing.assert_array_equal(lk.load(path)(X)[0], model.network(X)[0])


@pytest.mark.parametrize("opset", [14, 18, 22])
def test_pooling_is_the_same_in_every_opset(opset, tmp_path):
    for name in ("mean", "max"):
        fitted(name).save(tmp_path / "model.safetensors")
        target = tmp_path / "model.onnx"
        assert converting.convert(tmp_path / "model.safetensors", target, opset=opset).good


@pytest.mark.parametrize("name", MODELS)
def test_keras_says_what_the_estimator_says(name, tmp_path):
    keras = pytest.importorskip("keras")
    model = fitted(name)
    model.save(tmp_path / "model.safetensors")
    path = tmp_path / "model.keras"
    done = converting.convert(tmp_path / "model.safetensors", path)
    assert done.good
    assert "Keras" in done.checks[-1].by
    opened = keras.models.load_model(path, compile=False)
    found = keras.ops.convert_to_numpy(opened(X.astype(np.float32), training=False))
    wanted = model.predict(X) if name == "values" else model.predict_proba(X)
    np.testing.assert_allclose(answered(model, found), wanted, atol=1e-5)
    again = lk.load(path)(X)[0]
    np.testing.assert_allclose(again, model.network(X)[0], atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_the_average_of_keras_is_ours(masked, tmp_path):
    keras = pytest.importorskip("keras")
    layers = [keras.Input((None, 2))]
    layers += [keras.layers.Masking(0.0)] if masked else []
    layers += [keras.layers.LSTM(4, return_sequences=True)]
    layers += [keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(3)]
    theirs = keras.Sequential(layers)
    theirs.save(tmp_path / "theirs.keras")
    x = rng.normal(size=(4, 6, 2)).astype(np.float32)
    x[1, 3:] = x[2, 1:] = 0
    wanted = keras.ops.convert_to_numpy(theirs(x, training=False))
    ours = lk.load(tmp_path / "theirs.keras")
    np.testing.assert_allclose(ours(x)[0], wanted, atol=1e-5)
    assert any(isinstance(layer, Masking) for layer in ours.layers.values()) == masked


def test_what_keras_lacks_is_refused_in_one_line(tmp_path):
    keras = pytest.importorskip("keras")
    chain = lk.Sequential({"m": Masking(0.0), "a": lk.LSTM(2, 3, seed=0), "b": lk.Pooling("max")})
    with pytest.raises(lk.InputError, match="layer 'b' has a maximum under a mask, which Keras"):
        keras_files.save(chain, tmp_path / "chain.keras")
    for pooling, words in (
        (keras.layers.GlobalMaxPooling1D(name="p"), "'p' is a maximum that looks at masked steps"),
        (keras.layers.GlobalAveragePooling1D(name="p", keepdims=True), "'p' pools over"),
    ):
        layers = [keras.Input((None, 2)), keras.layers.Masking(0.0)]
        layers += [keras.layers.LSTM(4, return_sequences=True), pooling]
        keras.Sequential(layers).save(tmp_path / "theirs.keras")
        with pytest.raises(lk.InputError, match=words):
            lk.load(tmp_path / "theirs.keras")
