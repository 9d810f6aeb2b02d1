"""Conversion: the target is proved before it has its name; other libraries may be missing."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

import lstmkit as lk
from lstmkit import converting
from lstmkit.converting import Unproved, convert, format_of
from lstmkit.formats import peers
from lstmkit.formats.detect import Format
from lstmkit.shapes import InputError


def lstm(**options):
    return lk.LSTM(3, 4, seed=0, **options)


def chain():
    return lk.Sequential(
        {
            "tokens": lk.Embedding(7, 3, seed=0),
            "lstm": lk.LSTM(3, 4, 2, bidirectional=True, seed=1),
            "two": lk.Bidirectional(
                lk.Recurrent(lk.LSTM(8, 2, seed=2)),
                lk.Recurrent(lk.LSTM(8, 2, seed=3), backwards=True),
            ),
            "head": lk.Linear(4, 2, seed=4),
            "softmax": lk.Activation("softmax"),
        }
    )


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    """As in an environment that holds lstmkit alone."""
    monkeypatch.chdir(tmp_path)

    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(peers, "_library", missing)


@pytest.mark.parametrize("target", ["out.pt", "out.pth", "out.safetensors"])
@pytest.mark.parametrize("make", [lstm, chain])
def test_without_other_libraries_our_reader_runs_what_was_written(make, target):
    make().save("in.safetensors")
    model, checks, notes = convert("in.safetensors", target)
    (check,) = checks
    assert (check.file, check.by, check.difference) == (target, "lstmkit", 0)
    assert check.size > 0.01
    assert check.good
    if target == "out.safetensors":
        assert notes == []
        x = peers.random_input(peers.as_chain(model))
        np.testing.assert_array_equal(lk.load(target)(x)[0], make()(x)[0])
    else:
        assert notes == [f"{target} was not run by its own library: torch is not installed"]


def test_a_state_dict_has_pytorchs_names():
    lstm().save("in.safetensors")
    convert("in.safetensors", "out.safetensors", state_dict=True)
    assert "bias_hh_l0" in load_file("out.safetensors")
    done = convert("out.safetensors", "again.safetensors")  # and comes back
    assert "torch is not installed" in done.notes[0]
    for name, array in lstm().parameters.items():
        np.testing.assert_array_equal(lk.load("again.safetensors").parameters[name], array)


def test_of_several_one_is_chosen_and_the_others_are_told(tmp_path):
    two = {"enc": lk.LSTM(3, 4, seed=0), "dec": lk.LSTM(4, 5, seed=1)}
    lk.Sequential(two).save("in.safetensors")
    convert("in.safetensors", "two.pt")
    with pytest.raises(InputError, match="holds 2 LSTMs"):
        convert("two.pt", "out.safetensors")
    done = convert("two.pt", "out.safetensors", prefix="dec", libraries=False)
    assert done.model.hidden_size == 5
    assert "two.pt holds more, which is left out (1 lines" in done.notes[0]
    assert "'enc'" in done.notes[0]


def test_what_computes_something_else_is_not_written(monkeypatch):
    lstm().save("in.safetensors")
    with open("out.pt", "wb") as file:
        file.write(b"old")
    save = converting.loading.door(Format.PYTORCH).save

    def wrong(model, path, **options):
        other = lk.LSTM.from_parameters(model.config, model.parameters)
        other.parameters["weight_hh_l0"][0] *= 1.001
        save(other, path, **options)

    monkeypatch.setattr(converting.loading.door(Format.PYTORCH), "save", wrong)
    with pytest.raises(Unproved, match="do not compute the same") as caught:
        convert("in.safetensors", "out.pt")
    (check,) = caught.value.conversion.checks
    assert check.tolerance < check.difference < 1e-2
    assert "NOT the same" in str(check)
    with open("out.pt", "rb") as file:
        assert file.read() == b"old"


def test_what_a_library_computes_otherwise_is_not_written(monkeypatch):
    """Whichever of the two files it runs."""
    lstm().save("in.safetensors")
    convert("in.safetensors", "in.pt")
    for wrong in ("in.pt", "out.pt"):

        def run(path, model, prefix, wrong=wrong):
            return "Other 1.0", 1e-3 if path.name == wrong else 0.0, 1.0, "float32"

        monkeypatch.setattr(converting, "largest_difference", run)
        with pytest.raises(Unproved) as caught:
            convert("in.pt", "out.pt")
        assert [c.file for c in caught.value.conversion.checks if not c.good] == [wrong]
    assert convert("in.pt", "out.pt", libraries=False).checks[0].by == "lstmkit"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_is_never_the_same(dtype):
    check = converting.Check("a", "b", float("nan"), 1.0, 1e-5)
    assert not check.good
    assert not check._replace(difference=float("inf")).good
    assert check._replace(difference=1e-5).good
    y = np.zeros((1, 2), dtype)
    assert peers.compare(y, y[:, :1])[0] == float("inf")
    assert np.isnan(peers.compare(y, y * np.nan)[0])


def test_a_language_model_keeps_its_vocabulary_in_our_own_file_only():
    model = lk.LanguageModel(4, embedding_size=3, seed=0)
    model.fit("hello world " * 20, steps=1, batch_size=2, sequence_length=4)
    model.save("text")
    convert("text", "again.safetensors")
    assert lk.load("again.safetensors").vocabulary == model.vocabulary
    convert("text", "out.pt")
    assert lk.load("out.pt").hidden_size == 4


def test_formats_are_asked_for_by_suffix():
    assert format_of("a.ONNX") is Format.ONNX
    assert format_of("a.keras") is Format.KERAS
    assert format_of("a.safetensors") is Format.LSTMKIT
    assert format_of("a.safetensors", state_dict=True) is Format.PYTORCH
    assert format_of("a.pth", state_dict=True) is Format.PYTORCH


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("out.h5", {}, r"asks for HDF5.*expected .keras"),
        ("out.weights.h5", {}, r"asks for HDF5.*expected .keras"),
        ("out", {}, "does not end in a format's name; expected .safetensors, .pt"),
        ("out.keras", {"state_dict": True}, "a state dict is asked for"),
        ("out.pt", {"opset": 17}, "opset is given and 'out.pt' is no ONNX file"),
        ("in.safetensors", {}, "is the file that is read"),
        ("out.pt", {"prefix": "a"}, "expected a prefix only with a state dict"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(target, options, message):
    lstm().save("in.safetensors")
    with pytest.raises(InputError, match=message) as caught:
        convert("in.safetensors", target, **options)
    assert "\n" not in str(caught.value)


def test_what_the_target_cannot_hold_is_told_by_its_writer():
    lstm(peepholes=True).save("in.safetensors")
    with pytest.raises(InputError, match=r"peepholes, which nn\.LSTM"):
        convert("in.safetensors", "out.pt")
    model = lstm()
    model.parameters["bias_l0"][0] = np.nan
    model.save("in.safetensors")
    with pytest.raises(InputError, match="is not finite"):
        convert("in.safetensors", "out.pt")
    with pytest.raises(FileNotFoundError):
        convert("missing", "out.pt")
    lstm().save("in.safetensors")
    with pytest.raises(FileNotFoundError, match=r"gone/out\.pt"):
        convert("in.safetensors", "gone/out.pt")
