"""Conversions proved by the libraries themselves: every way between the formats."""

from __future__ import annotations

import numpy as np
import pytest

import lstmkit as lk
from lstmkit.converting import Unproved, convert
from lstmkit.formats import onnx
from lstmkit.formats.detect import Format
from lstmkit.loading import door

pytestmark = pytest.mark.conformance

NAMES = {".pt": "PyTorch", ".keras": "Keras", ".onnx": "ONNX Runtime", ".safetensors": "lstmkit"}


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def lstm():
    return lk.LSTM(3, 5, 2, bidirectional=True, seed=0)


def chain():
    return lk.Sequential(
        {
            "tokens": lk.Embedding(11, 4, seed=1),
            "lstm": lk.LSTM(4, 6, seed=2),
            "last": lk.Recurrent(lk.LSTM(6, 5, seed=3), last=True),
            "head": lk.Linear(5, 3, seed=4),
            "softmax": lk.Activation("softmax"),
        }
    )


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("source", NAMES)
@pytest.mark.parametrize("make", [lstm, chain])
def test_every_way_is_proved_by_both_libraries(make, source, target):
    model = make()
    model.save("in.safetensors")
    if source != ".safetensors":
        convert("in.safetensors", f"source{source}")
    else:
        model.save(f"source{source}")
    if make is chain and source == ".pt":
        prefix = "lstm"  # a state dict holds no chain: one LSTM of it is opened
        done = convert(f"source{source}", f"target{target}", prefix=prefix)
        model = model.lstms[0]
    else:
        done = convert(f"source{source}", f"target{target}")
    by = [check.by.split(" ")[0] for check in done.checks]
    wanted = [source, target] if source != ".safetensors" else [target]
    assert by == [NAMES[suffix].split(" ")[0] for suffix in wanted]
    assert all(check.good and check.size > 0.01 for check in done.checks)
    if (source, target) == (".keras", ".pt"):  # Keras's layers are single ones, each an LSTM here
        return
    opened = lk.load(f"target{target}", prefix="lstm" if target == ".pt" and make is chain and
                     source != ".pt" else None)  # fmt: skip
    if target == ".pt" and make is chain and source != ".pt":
        model = model.lstms[0]
    rng = np.random.default_rng(0)
    tokens = isinstance(model, lk.Sequential)
    x = rng.integers(0, 11, (2, 6)) if tokens else rng.standard_normal((2, 6, model.input_size))
    np.testing.assert_allclose(opened(x)[0], model(x)[0], rtol=0, atol=1e-6)  # float32


@pytest.mark.parametrize("suffix", [".pt", ".keras", ".onnx"])
def test_a_wrong_writer_is_caught_by_the_library(suffix, monkeypatch):
    lstm().save("in.safetensors")
    room = door({".pt": Format.PYTORCH, ".keras": Format.KERAS, ".onnx": Format.ONNX}[suffix])
    save = room.save

    def wrong(model, path, **options):
        other = lk.LSTM.from_parameters(model.config, model.parameters)
        gates = other.parameters["weight_hh_l1_reverse"]
        gates[:5], gates[5:10] = gates[5:10].copy(), gates[:5].copy()  # i and f
        save(other, path, **options)

    monkeypatch.setattr(room, "save", wrong)
    with pytest.raises(Unproved) as caught:
        convert("in.safetensors", f"out{suffix}")
    (check,) = caught.value.conversion.checks
    assert check.by.startswith(NAMES[suffix])
    assert check.difference > 100 * check.tolerance


@pytest.mark.parametrize("suffix", [".pt", ".keras", ".onnx"])
def test_a_wrong_reader_is_caught_by_the_library(suffix, monkeypatch):
    lstm().save("in.safetensors")
    convert("in.safetensors", f"source{suffix}")
    room = door({".pt": Format.PYTORCH, ".keras": Format.KERAS, ".onnx": Format.ONNX}[suffix])
    load = room.load

    def wrong(path, **options):
        model = load(path, **options)
        next(a for name, a in model.parameters.items() if "bias" in name)[0] += 0.01
        return model

    monkeypatch.setattr(room, "load", wrong)
    with pytest.raises(Unproved) as caught:
        convert(f"source{suffix}", "out.safetensors")
    assert [
        c.by.startswith(NAMES[suffix]) for c in caught.value.conversion.checks if not c.good
    ] == [True]


def test_variants_that_onnx_lacks_and_states_and_lengths():
    options = {"peepholes": True, "layer_norm": True, "cell_clip": 1.0, "learn_initial_state": True}
    for dtype in ("float32", "float64"):
        lk.LSTM(3, 5, proj_size=2, dtype=dtype, seed=0, **options).save("in.safetensors")
        for more in ({}, {"states": True}, {"lengths": True, "opset": 18}):
            done = convert("in.safetensors", "out.onnx", **more)
            assert [check.by[:4] for check in done.checks] == ["ONNX"]
            alone = convert("in.safetensors", "out.onnx", libraries=False, **more)
            assert alone.checks[0].by == "lstmkit, node by node"
            convert("out.onnx", "again.safetensors", libraries=False)
            same(lk.load("again.safetensors"), lk.load("in.safetensors"))


def same(one, other):
    """Whether two models are of one kind and config, with equal bits."""
    assert type(one) is type(other)
    assert one.config == other.config
    assert list(one.parameters) == list(other.parameters)
    for name, array in one.parameters.items():
        assert array.tobytes() == other.parameters[name].tobytes(), name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_masked_keras_model_as_onnx_and_back_without_any_library(dtype):
    layers = {
        "masking": lk.Masking(0.0),
        "one": lk.Recurrent(lk.LSTM(3, 4, dtype=dtype, seed=0), repeat=True),
        "two": lk.Recurrent(lk.LSTM(4, 5, dtype=dtype, seed=1), backwards=True, turned=True,
                            repeat=True),
        "head": lk.Linear(5, 2, dtype=dtype, seed=2),
    }  # fmt: skip
    keras = door(Format.KERAS)
    keras.save(lk.Sequential(layers), "in.keras")
    for more in ({}, {"states": True, "lengths": True}):
        done = convert("in.keras", "out.onnx", libraries=False, **more)
        assert [check.by for check in done.checks] == ["lstmkit, node by node"]
        same(lk.load("out.onnx"), lk.load("in.keras"))
        back = convert("out.onnx", "out.keras", libraries=False)
        assert not any("holds more" in note for note in back.notes)
        same(lk.load("out.keras"), lk.load("in.keras"))
    assert onnx.read("out.onnx").left_over == []
    by = [check.by.split(" ")[0] for check in convert("out.onnx", "again.keras").checks]
    assert by == ["ONNX", "Keras"]
